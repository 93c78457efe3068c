"""Does a sweep's driver cost more, the more trials there are? And who reads a thousand trials?

Run    python -m benchmarks.driver_cost [--quick]
Gives  CPU time of an epoch reported, of a trial's return and of a decision what trains next, with
       10 and with 1000 trials proposed, and their ratio; the memory that the driver grows by; a
       proposal of each sampler with 1000 trials seen, which by its nature looks at all; a report of
       1000 trials of 20 epochs, and a summary of its states, epochs, best Dice and device-seconds
       by a process of its own.
       The driver is the real one, see long_sweep.py; records are in memory where the machine has a
       RAM disk, so that no disk is measured. BLAS is held to one thread. Four minutes of CPU.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is first imported

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Literal

from psutil import Process
from rich.console import Console

from benchmarks.claims import Claim, ratios
from benchmarks.long_run import write_run
from benchmarks.long_sweep import Event, Kind, LongSweep
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.sweep import Bayes, Sweep
from brainseg.records.run import Run
from brainseg.report import claims as claims_report
from brainseg.report import page, results, terminal
from brainseg.search.halving import Halving
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from sweeps.encoders import sweep as ENCODERS

FLAT = 1.5  # times what an event costs with few trials
PROPOSAL_SECONDS = 0.25  # a trial takes minutes
FEW = range(5, 20)  # trials proposed, where there are about ten
EVENTS: dict[Kind, str] = {
    "epoch": "an epoch reported",
    "end": "a trial that returns",
    "decision": "a decision what trains next, points drawn at random",
}
SAMPLERS = ("tpe", "gp")
SUMMARY = """
import sys
from collections import Counter
from pathlib import Path
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
run = Run(Path(sys.argv[1]))
trials = run.trials()
rows = [run.trial(t.trial).rows()[-1:] for t in trials if t.state == TrialState.RUNNING]
print(Counter(t.state.value for t in trials), sum(t.epoch for t in trials), len(rows),
      max(t.dice or 0.0 for t in trials), sum(t.device_seconds for t in trials))
"""
Sampler = Literal["random", "tpe", "gp"]


def searching(trials: int, sampler: Sampler, objectives: tuple[str, ...] = ("dice",)) -> Sweep:
    """sweeps/encoders.py, of 20 epochs and many trials."""
    space = replace(ENCODERS.space, base=TrialConfig(epochs=20))
    strategy = Bayes(trials=trials, grace_epochs=2, sampler=sampler)
    return replace(ENCODERS, space=space, strategy=strategy, objectives=objectives)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory, where there is a RAM disk."""
    ram = Path("/dev/shm")
    with TemporaryDirectory(dir=ram if os.access(ram, os.W_OK) else None) as path:
        yield Path(path) / "run"


def cost(events: list[Event], kind: Kind, proposed: range) -> float:
    """Mean CPU seconds of an event while so many trials were proposed."""
    return fmean(e.seconds for e in events if e.kind == kind and e.proposed in proposed)


def driver_claims(trials: int, rounds: int) -> list[Claim]:
    """What the driver does at each event, and its memory."""
    with folder() as path:  # first calls cost more
        LongSweep(Run(path), searching(trials, "random")).drive(FEW.stop)
    sweeps, grown = list[list[Event]](), list[float]()
    for _ in range(rounds):
        with folder() as path:
            sweep, process = LongSweep(Run(path), searching(trials, "random")), Process()
            sweep.drive(FEW.stop)
            before = process.memory_info().rss
            sweep.drive(trials)
            grown.append((process.memory_info().rss - before) / 1e6)
            sweeps.append(sweep.events)
    many = range(trials - trials // 20, trials)
    ours = [
        Claim(
            what=f"{words}, {trials} trials",
            values=ratios(
                [cost(events, kind, many) for events in sweeps],
                few := [cost(events, kind, FEW) for events in sweeps],
            ),
            baseline=f"10 trials ({1000 * fmean(few):.2f} ms of CPU)",
            limit=FLAT,
            better="lower",
        )
        for kind, words in EVENTS.items()
    ]
    memory = Claim(
        what=f"memory of a driver, from 20 to {trials} trials",
        values=grown,
        unit="MB",
        limit=100,
        better="lower",
    )
    return [*ours, memory]


def proposal_claims(run: Run, rounds: int) -> list[Claim]:
    """A proposal of each sampler, with all trials of ``run`` seen."""
    claims = []
    scheduler = TrialScheduler(run, Halving(grace=4, reduction=3))
    for sampler, objectives in (*((s, ("dice",)) for s in SAMPLERS), ("tpe", OBJECTIVES)):
        observed = scheduler.observations(objectives)
        seconds = []
        with folder() as path:
            new = Run(path)
            new.create()
            sweep = replace(searching(len(observed), sampler, objectives), first=())
            study = Study(new, sweep)
            for _ in range(rounds + 1):
                before = time.process_time()
                study.ask(observed)
                seconds.append(time.process_time() - before)
        claims.append(
            Claim(
                what=f"a proposal by {sampler}, {len(objectives)} objective(s), "
                f"{len(observed)} trials seen",
                values=seconds[1:],  # the first has all to work out
                unit="s of CPU",
                limit=PROPOSAL_SECONDS,
                better="lower",
            )
        )
    return claims


OBJECTIVES = ("dice", "device_seconds", "parameters")


def report_seconds(run: Run) -> float:
    """CPU time of `brainseg report`, but for its imports."""
    before = time.process_time()
    answers = results.Results.load(run)
    results.write_results(answers)
    claims_report.write_claims(answers)
    page.write_report(answers)
    terminal.print_ranking(answers, Console(file=io.StringIO(), width=100))
    return time.process_time() - before


def summary_seconds(run: Run) -> float:
    """CPU time of a process that sums up a run, from its start to its end."""
    before = os.times()
    subprocess.run([sys.executable, "-c", SUMMARY, str(run.path)], check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])  # of children: user, system


def claims(quick: bool) -> list[Claim]:
    trials, rounds = (300, 1) if quick else (1000, 3)
    measured = driver_claims(trials, rounds)
    with folder() as path:
        run = write_run(path, trials)
        measured += proposal_claims(run, 5 if quick else 15)
        measured.append(
            Claim(
                what=f"a report of {trials} trials of 20 epochs",
                values=[report_seconds(run)],
                unit="s",
                limit=60,
                better="lower",
            )
        )
        measured.append(
            Claim(
                what=f"a page of {trials} trials of 20 epochs",
                values=[run.report.stat().st_size / 1e6],
                unit="MB",
                limit=5,
                better="lower",
            )
        )
        measured.append(
            Claim(
                what=f"states, epochs, best Dice and device-seconds of {trials} trials",
                values=[summary_seconds(run) for _ in range(rounds)],
                unit="s",
                limit=1,
                better="lower",
            )
        )
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="300 trials instead of 1000")
    for claim in claims(parser.parse_args().quick):
        print(claim)


if __name__ == "__main__":
    main()
