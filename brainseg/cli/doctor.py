"""Is this machine, or this cluster, ready for a sweep: `doctor`."""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import require_folder, terminal, writing
from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.options.shared import DATA
from brainseg.data.address import is_address, local_path

if TYPE_CHECKING:
    from rich.table import Table

    from brainseg.doctor.findings import Finding

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What the doctor looks at, and where it writes what it saw."""

    cluster: str | None  # None: this machine alone
    storage: str
    data: str
    json: Path | None


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "doctor",
        help="is this machine, or a cluster, ready for a sweep?",
        description="Check software, GPUs, disks, names, clocks, servers and open ports of this "
        "machine, without starting Ray; with --cluster those of every node, and whether the nodes "
        "agree. Each finding says what to do. Nothing is changed.",
        epilog="Exit status: 0 no problem (there may be notes), 1 a problem, 2 bad input or a "
        "cluster that cannot be joined.",
    )
    parser.add_argument(
        "--cluster",
        metavar="auto|HOST:PORT",
        help="check a whole cluster: auto on one of its machines, else the address of its head "
        "(default: this machine alone)",
    )
    parser.add_argument(
        "--storage",
        default="",
        metavar="FOLDER",
        help="where results will go: can every node read what the others write there?",
    )
    parser.add_argument(
        "--data", default="", metavar="DATA", help=f"{DATA}: can every node read it?"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write everything that was seen"
    )
    parser.set_defaults(work=lambda args: _doctor(_options(args)))


def _options(args: argparse.Namespace) -> DoctorOptions:
    if is_address(args.storage):
        raise ValueError(f"--storage is a folder, got an address ({args.storage}); mount it first")
    return DoctorOptions(
        cluster=args.cluster,
        storage=_whole(args.storage),
        data=args.data if is_address(args.data) else _whole(args.data),
        json=require_folder("--json", args.json),
    )


def _whole(path: str) -> str:
    """A path that means the same on every node; nothing as nothing."""
    return str(local_path(path).absolute()) if path else ""


def _doctor(options: DoctorOptions) -> None:
    """Status 1 if there is a problem."""
    from rich.text import Text

    from brainseg.doctor.collect import examine_cluster, examine_machine
    from brainseg.doctor.diagnose import diagnose, verdict
    from brainseg.records.files import write_json

    print("looking, which takes some seconds", file=sys.stderr)
    evidence = (
        examine_cluster(options.cluster, options.storage, options.data)
        if options.cluster
        else examine_machine(options.storage, options.data)
    )
    findings = diagnose(evidence)
    console = terminal()
    console.print(Text(verdict(findings, evidence), style="bold"))
    if console.is_terminal:
        console.print(_table(findings))
    else:
        print("\n".join(map(_line, findings)))  # whole lines, for grep and for a log
    if options.json:
        with writing(options.json):
            write_json(
                options.json,
                {"findings": [asdict(finding) for finding in findings], "seen": asdict(evidence)},
            )
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def _line(finding: "Finding") -> str:
    line = f"{finding.level:8} {finding.topic:10} {finding.seen}"
    return f"{line} -> {finding.remedy}" if finding.remedy else line


def _table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        sentence = Text(finding.seen)
        if finding.remedy:
            sentence.append(f"\n-> {finding.remedy}", style="dim")
        table.add_row(Text(finding.level, style=STYLES[finding.level]), finding.topic, sentence)
    return table
