"""Is this machine, or this cluster, ready for a sweep: `doctor`."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.data.address import is_address

if TYPE_CHECKING:
    from rich.table import Table

    from brainseg.doctor.findings import Finding

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = verbs.add_parser(
        "doctor",
        help="say whether this machine, or a cluster, is ready for a sweep",
        description="Look at software, GPUs, disks, names, clocks, servers and open ports of this "
        "machine, which starts no Ray; with --cluster of every node, and whether they agree. Each "
        "finding says what to do. Nothing is changed.",
        epilog="Exit status: 0 no problem (there may be notes), 1 a problem, 2 bad input or a "
        "cluster that cannot be joined.",
    )
    doctor.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="auto, on a machine of it, or HOST:PORT of its head; default: this machine alone",
    )
    doctor.add_argument(
        "--storage",
        default="",
        metavar="FOLDER",
        help="where results will go: does every node read what the others write there?",
    )
    doctor.add_argument(
        "--data",
        default="",
        metavar="DATA",
        help="folder or s3://bucket/folder: does every node see it?",
    )
    doctor.add_argument("--json", type=Path, metavar="FILE", help="write all that was seen there")
    doctor.set_defaults(work=_doctor)


def _doctor(args: argparse.Namespace) -> None:
    """Status 1 if there is a problem."""
    if args.json and not args.json.expanduser().parent.is_dir():
        raise ValueError(f"--json must go into a folder that is there, got {args.json}; make it")
    if is_address(args.storage):
        raise ValueError(f"--storage is a folder, got an address ({args.storage}); mount it first")
    from rich.console import Console
    from rich.text import Text

    from brainseg.doctor.collect import look_at_cluster, look_here
    from brainseg.doctor.diagnose import diagnose, verdict
    from brainseg.records.files import write_json

    storage, data = _whole(args.storage), _whole(args.data)
    print("looking, which takes some seconds", file=sys.stderr)
    seen = (
        look_at_cluster(args.cluster, storage, data) if args.cluster else look_here(storage, data)
    )
    findings = diagnose(seen)
    console = Console()
    console.print(Text(verdict(findings, seen), style="bold"))
    if console.is_terminal:
        console.print(_table(findings))
    else:
        print("\n".join(map(_line, findings)))  # whole lines, for grep and for a log
    if args.json:
        write_json(
            args.json.expanduser(),
            {"findings": [asdict(one) for one in findings], "seen": asdict(seen)},
        )
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def _whole(path: str) -> str:
    """A path that means the same on every node; an address as it is, nothing as nothing."""
    return str(Path(path).expanduser().absolute()) if path and not is_address(path) else path


def _line(one: "Finding") -> str:
    line = f"{one.level:8} {one.topic:10} {one.seen}"
    return f"{line} -> {one.remedy}" if one.remedy else line


def _table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        said = Text(one.seen)
        if one.remedy:
            said.append(f"\n-> {one.remedy}", style="dim")
        table.add_row(Text(one.level, style=STYLES[one.level]), one.topic, said)
    return table
