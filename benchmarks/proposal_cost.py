"""What does one more proposal cost the driver, once there are many trials?

Run    python -m benchmarks.proposal_cost
Gives  CPU seconds of one proposal of each sampler in the space of sweeps/encoders.py, median of
       five, with 100 trials reported: as the study does it, from the trials' records to the new
       config on disk. BLAS is held to one thread, as its waiting threads would count. A minute.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is first imported

import time
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np
import optuna

from benchmarks.claims import Claim
from brainseg.config.distributions import Params
from brainseg.config.sweep import Bayes, Sweep
from brainseg.records.files import append_line, write_text
from brainseg.records.run import Run
from brainseg.search.halving import Halving
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from sweeps.encoders import sweep as ENCODERS

SEEN, PROPOSALS = 100, 5
REACHED = (4, 4, 4, 12, 12, 30)  # epochs, as the rungs of that sweep let trials come
Sampler = Literal["tpe", "gp", "random"]


def searched(path: Path, sampler: Sampler) -> tuple[Study, Sweep]:
    """A study of the sweep in which ``SEEN`` trials were proposed, recorded and reported."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draws = Random(0)
    points = tuple(ENCODERS.space.sample(draws) for _ in range(SEEN))
    strategy = Bayes(trials=2 * SEEN, grace_epochs=4, sampler=sampler)
    sweep = replace(ENCODERS, first=points, strategy=strategy)
    (path / "trials").mkdir()
    study, rng = Study(Run(path), sweep), np.random.default_rng(0)
    for number in range(SEEN):
        name = study.ask()
        record(study, name, study.params(name), REACHED[number % len(REACHED)], rng)
    return study, sweep


def record(study: Study, name: str, params: Params, epochs: int, rng: np.random.Generator) -> None:
    """Rows of a trial up to ``epochs``, with a Dice that grows to its own level."""
    folder, level = study.run.trial(name), rng.uniform(0.4, 0.9)
    study.run.note(name, "running", params=params)
    for epoch in range(1, epochs + 1):
        dice = float(level * (1 - np.exp(-epoch / 5)) + 0.01 * rng.standard_normal())
        row = {"epoch": epoch, "dice": dice, "best_dice": dice, "best_epoch": epoch}
        append_line(folder.metrics, {**row, "seconds": 1.0, "devices": 1})
        study.observe(name, epoch, dice)
    if epochs < int(params["epochs"]):
        write_text(folder.stop, "behind")
    study.run.note(name, folder.ending().state)
    study.report_end(name)


def seconds(study: Study, sweep: Sweep) -> float:
    """CPU seconds of a proposal; what is proposed is not started, so each sees the same trials."""
    scheduler = TrialScheduler(study.run, Halving(grace=4, reduction=3))
    took = []
    for _ in range(PROPOSALS):
        start = time.process_time()
        study.ask(scheduler.observations(sweep.objectives))
        took.append(time.process_time() - start)
    return median(took)


def claims(quick: bool) -> list[Claim]:
    """CPU seconds of a proposal of each sampler; a quick look leaves out all but the default's."""
    samplers = get_args(Sampler)[:1] if quick else get_args(Sampler)
    found = []
    for sampler in samplers:
        with TemporaryDirectory() as folder:
            values = [seconds(*searched(Path(folder), sampler))]
        what = f"CPU time of a proposal by {sampler}, {SEEN} trials seen"
        found.append(Claim(what=what, values=values, unit="s", limit=0.4, better="lower"))
    return found


def main() -> None:
    print(f"sampler  CPU s of a proposal, {SEEN} trials seen")
    for sampler in get_args(Sampler):
        with TemporaryDirectory() as folder:
            print(f"{sampler:8} {seconds(*searched(Path(folder), sampler)):.3f}")


if __name__ == "__main__":
    main()
