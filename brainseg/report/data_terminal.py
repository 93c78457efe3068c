"""What a check of a data set reports: the terminal's output, and facts for the page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.data.labels import in_words
from brainseg.data.quality.check import Findings
from brainseg.data.readers.problems import Problem, counted
from brainseg.process import plain

LINE = re.compile(r" line \d+$")  # of a table, after the file's name
LISTED = 20  # files shown per rule in a terminal; all in a pipe


def print_findings(findings: Findings, console: Console) -> None:
    """Facts of the data set, notes, and every problem under the rule that it breaks."""
    title = plain(f"{findings.root}: {headline(findings)}")
    console.print(Text(title, style="bold"), soft_wrap=True)
    lines = Table.grid(padding=(0, 2, 0, 0))
    for name, texts in facts(findings.summary).items():
        for n, line in enumerate(texts):
            lines.add_row(Text("" if n else name, style="dim"), Text(plain(line), overflow="fold"))
    for note in findings.notes:
        lines.add_row(Text("note", style="cyan"), Text(plain(note), overflow="fold"))
    console.print(lines)
    for (rule, remedy), group in by_rule(findings.problems).items():
        console.print(Text(f"\n{rule}; {remedy}", style="red"), soft_wrap=True)
        _print_files(group, console)
    style = "bold red" if findings.problems else "bold green"
    console.print(Text(f"\n{verdict(findings)}", style=style))


def headline(findings: Findings) -> str:
    count = findings.summary
    usable, listed = count["slices"], count["listed"]
    if usable < listed["slices"]:
        return (
            f"{count['patients']:,} of {counted(listed['patients'], 'patient')} and {usable:,} of "
            f"{counted(listed['slices'], 'slice')} can be used, {count['tumour_slices']:,} with "
            "tumour"
        )
    return (
        f"{counted(count['patients'], 'patient')}, {counted(usable, 'slice')}, "
        f"{count['tumour_slices']:,} with tumour"
    )


def verdict(findings: Findings) -> str:
    files = len({LINE.sub("", problem.file) for problem in findings.problems})
    if not files:
        return "no problem found"
    return f"{counted(len(findings.problems), 'problem')} in {counted(files, 'file')}"


def facts(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """Lines of each fact by its name; smallest and largest values in brackets."""
    manifest = f" {summary['manifest']}" if summary["manifest"] else ""
    files = {
        "layout": [summary["layout"] + manifest],
        "files": [summary["files"]],
        "not used": [summary["not_used"]],
    }
    files = {name: lines for name, lines in files.items() if any(lines)}
    if not summary["slices"]:
        return files
    area, unit = summary["tumour_area"], summary["tumour_volume_unit"]
    per_patient = [
        f"median {_range(summary['slices_per_patient'])} slices, "
        f"{_range(summary['tumour_slices_per_patient'])} with tumour",
        f"median {_range(summary['tumour_volumes'])} {unit} of tumour",
    ]
    levels = [
        f"channel {n}: {level['low']:g} to {level['high']:g}, mean {level['mean']:.3g}"
        for n, level in enumerate(summary["intensities"])
    ]
    per_slice = (
        [f"median {_range(area)} px; 5 % below {area['5']:,.0f}, 5 % above {area['95']:,.0f}"]
        if area  # {} where no slice has tumour
        else []
    )
    kinds = ("sizes", " pixels"), ("channels", " channels"), ("types", "")
    described = {
        "images": [", ".join(_shares(summary[name]) + unit for name, unit in kinds)],
        "channels": [_channels(summary["channel_names"], len(summary["intensities"]))],
        "intensities": levels,
        "a patient has": per_patient,
        "a tumour slice has": per_slice,
        "tumour": [f"{summary['tumour_share']:.2%} of all pixels", *_label(summary)],
        "patients by site": [_counts(summary["sites"])] if summary["sites"] else [],
        "voxels": [_shares(summary["spacing"])] if summary["spacing"] else ["of unknown size"],
    }
    return files | {name: lines for name, lines in described.items() if lines}


def _label(summary: Mapping[str, Any]) -> list[str]:
    """What of the masks is tumour, if it was chosen, and how many patients have which label."""
    if not summary["label"]:
        return []
    known = ", ".join(f"{n} ({counted(k, 'patient')})" for n, k in summary["labels"].items())
    return [f"{in_words(summary['label'])}; masks hold {known or 'none'}"]


def by_rule(problems: Iterable[Problem]) -> dict[tuple[str, str], list[Problem]]:
    """Problems grouped by rule and remedy, in the order in which they were found."""
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.rule, problem.remedy), []).append(problem)
    return groups


def _print_files(problems: list[Problem], console: Console) -> None:
    limit = LISTED if console.is_terminal else len(problems)
    for problem in problems[:limit]:
        line = Text.assemble("  ", (plain(problem.file), "bold"), f" {plain(problem.fault)}")
        console.print(line, soft_wrap=True)
    if len(problems) > limit:
        more = f"  and {len(problems) - limit:,} more: --html FILE lists all, and so does a pipe"
        console.print(Text(more, style="dim"))


def _channels(names: Sequence[str], count: int) -> str:
    if not names:
        return "of unknown names"
    if len(names) != count:
        return f"of unknown names: the layout names {len(names)}, {', '.join(names)}"
    return ", ".join(f"{n} is {name}" for n, name in enumerate(names))


def _range(percentiles: Mapping[str, float]) -> str:
    low, half, high = (percentiles[percent] for percent in ("0", "50", "100"))
    return f"{half:,.6g} ({low:,.6g} to {high:,.6g})" if low < high else f"{half:,.6g}"


def _shares(counts: Mapping[str, int]) -> str:
    """`256x256`, or `256x256 (830), 240x240 (10)`."""
    return _counts(counts) if len(counts) > 1 else next(iter(counts))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({count:,})" for value, count in counts.items())
