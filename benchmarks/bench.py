"""All claims of brainseg's speed, measured one after the other and put into one table.

Run    make bench [ARGS="--quick"] [ARGS="--only step,keep"]
Gives  the table, and docs/performance.md with it between its markers, with machine, date and
       commit. Ends with status 1 if a limit was not kept or a benchmark failed. With --only the
       table is printed, and the page stays as it is.

Each benchmark runs in a process of its own, so that none warms up or burdens the next; one that
fails is named, and the others go on. Run it on idle cores.
"""

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.claims import Claim, NotHere

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
BENCHMARKS = (
    "input_pipeline",
    "step",
    "gpu",
    "lightning_loop",
    "freezing",
    "scoring",
    "predict",
    "keep",
    "start_up",
    "driver_cost",
    "proposal_cost",
    "restart",
)
MARKERS = ("<!-- make bench: begins -->", "<!-- make bench: ends -->")
SECONDS = 1800  # of one benchmark, at most
HEAD = ("what", "figure", "lowest to highest", "against", "limit", "kept", "measured by")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one benchmark: its claims, or why it has none.

    Attributes:
        fault: how it failed; "" if it did not.
        lacking: what it needs and this machine does not have; "" if nothing.
    """

    name: str
    claims: tuple[Claim, ...] = ()
    fault: str = ""
    lacking: str = ""

    @property
    def is_good(self) -> bool:
        return not self.fault and all(claim.is_kept for claim in self.claims)


def outcome_of(module: str, *, quick: bool) -> Outcome:
    """Run the benchmark ``module`` in a process of its own, and read what it claims."""
    name = module.rpartition(".")[2]
    with tempfile.TemporaryDirectory(prefix="brainseg-bench-") as folder:
        answer = Path(folder) / "claims.json"
        command = [sys.executable, "-m", "benchmarks.bench", "--one", module, "--to", str(answer)]
        try:
            done = subprocess.run(
                [*command, *["--quick"] * quick],
                stdout=2,  # what it prints is no part of the table
                stderr=subprocess.PIPE,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Outcome(name=name, fault=f"it took more than {SECONDS} s")
        if done.returncode or not answer.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return Outcome(name=name, fault=lines[-1] if lines else f"status {done.returncode}")
        told = json.loads(answer.read_text())
    claims = tuple(Claim(**claim) for claim in told["claims"])
    return Outcome(name=name, claims=claims, lacking=told["lacking"])


def write_claims(module: str, target: Path, *, quick: bool) -> None:
    """Measure in this process."""
    told: dict[str, object] = {"claims": [], "lacking": ""}
    try:
        claims = importlib.import_module(module).claims(quick)
        told["claims"] = [{**asdict(claim), "values": list(claim.values)} for claim in claims]
    except NotHere as missing:
        told["lacking"] = str(missing)
    target.write_text(json.dumps(told))


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each claim, in Markdown; below it, what was not measured and why."""
    rows = [HEAD, ("---",) * len(HEAD)]
    rows += [_row(outcome.name, claim) for outcome in outcomes for claim in outcome.claims]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    for outcome in outcomes:
        if why := outcome.fault or outcome.lacking:
            verb = "failed" if outcome.fault else "was not run"
            lines += ["", f"`benchmarks/{outcome.name}.py` {verb}: {' '.join(why.split())}."]
    return "\n".join(lines) + "\n"


def _row(name: str, claim: Claim) -> tuple[str, ...]:
    unit = claim.unit if claim.unit in ("x", "%") else f" {claim.unit}"
    bound = "at least" if claim.better == "higher" else "at most"
    promised = claim.limit is not None
    return (
        claim.what,
        f"{claim.figure:.3g}{unit}",
        f"{min(claim.values):.3g} to {max(claim.values):.3g}" if len(claim.values) > 1 else "",
        claim.baseline,
        f"{bound} {claim.limit:g}{unit}" if promised else "",
        ("yes" if claim.is_kept else "**no**") if promised else "",
        f"`{name}`",
    )


def circumstances(*, quick: bool) -> str:
    """Machine, date and commit, in a sentence or two."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    machine = f"{_processor()}, {os.cpu_count()} cores, {gigabytes:.0f} GB, {gpu}"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    run = "A quick run, with few rounds" if quick else "Measured"
    load = f"load of the machine before: {os.getloadavg()[0]:.1f}"
    return f"{run} on {datetime.now(UTC):%Y-%m-%d} at {_commit()}: {machine}, {versions}; {load}."


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        names = re.findall(r"model name\s*: (.+)", file.read())
    return names[0] if names else platform.machine()


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"commit {git('rev-parse', '--short', 'HEAD')}" + ", with changes" * bool(changed)


def with_table(page: str, text: str) -> str:
    """``page`` with ``text`` between its markers.

    Raises:
        ValueError: it has no markers.
    """
    begin, end = MARKERS
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"a page must have the lines {begin} and {end}; add them")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def bench(modules: Sequence[str], *, quick: bool, page: Path | None) -> int:
    """Measure all, print the table, write it into ``page``; return the exit status."""
    facts, outcomes = circumstances(quick=quick), []
    for module in modules:
        print(f"{module} ...", file=sys.stderr, flush=True)
        outcomes.append(outcome_of(module, quick=quick))
    text = f"{facts}\n\n{table(outcomes)}"
    print(text)
    if page:
        page.write_text(with_table(page.read_text(), text))
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: minutes in all")
    parser.add_argument("--only", help="names of benchmarks, with commas between them")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        write_claims(args.one, args.to, quick=args.quick)
        return 0
    names = args.only.split(",") if args.only else BENCHMARKS
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"--only takes {', '.join(BENCHMARKS)}; got {', '.join(sorted(unknown))}")
    modules = [f"benchmarks.{name}" for name in names]
    return bench(modules, quick=args.quick, page=None if args.only else PAGE)


if __name__ == "__main__":
    sys.exit(main())
