"""Where does the time go from a command to the first epoch, at a sweep's start and at its restart?

Run    python benchmarks/restart.py [--repeats 3]
Gives  seconds of each phase and its share of the whole, medians over the repeats: of a start, and
       of a restart after kill -9. Starts and restarts take turns, so that whatever else keeps the
       machine busy slows both. A minute per repeat on two idle cores.

Phases are told apart by the lines that the sweep prints and by what the trial writes of itself.
Shares depend less on the machine's load than seconds do.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.claims import Claim
from brainseg.data.phantom import write_phantoms
from brainseg.records.files import read_lines

PHASES = (
    "imports, data, folder",
    "  of these, imports",
    "Ray starts",
    "Tune and the trial's process start",  # its imports too
    "the trial's setup: data, network",
    "the first epoch",
)
MARKS = (": train |: test ", " trials at once", r"\] (starts|resumes)", r"\] epoch ")
BRAINSEG = [sys.executable, "-u", "-c", "from brainseg.cli.main import main; main()"]
IMPORTS = [sys.executable, "-c", "import brainseg.launch.run"]
SMALL = ["--set=model.encoder.name=resnet18", "--weights=none", "--image-size=64"]
SMALL += ["--set=batch_size=8", "--epochs=1000", "--wandb=off", "--name=r"]


def seconds_of_phases(data: Path, storage: Path) -> list[float]:
    """Start the sweep, or resume it; kill it once its trial has finished an epoch."""
    begin = time.monotonic()
    subprocess.run(IMPORTS, check=True)
    imports = time.monotonic() - begin
    times = [time.monotonic()]
    sweep = subprocess.Popen(
        [*BRAINSEG, "train", f"--data={data}", f"--storage={storage}", *SMALL],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert sweep.stdout
    try:
        for mark in MARKS:
            next(line for line in sweep.stdout if re.search(mark, line))
            times.append(time.monotonic())
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    before_ray, ray, tune, trial = (b - a for a, b in pairwise(times))
    cost = first_cost(storage)
    setup, epoch = cost["start"], cost["train"] + cost["score"] + cost["keep"]
    return [before_ray, imports, ray, tune + trial - setup - epoch, setup, epoch]


def first_cost(storage: Path) -> dict[str, float]:
    """What the trial's newest start spent on its setup and its first epoch."""
    rows = read_lines(storage / "r" / "trials" / "0000" / "costs.jsonl")
    return next(row for row in reversed(rows) if row["start"] > 0)


def claims(quick: bool) -> list[Claim]:
    """How a restart after kill -9 compares with a start, up to the first epoch's end."""
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        data = write_phantoms(Path(name) / "data", patients=8, slices=8, size=64)
        for turn in range(1 if quick else 3):
            storage = Path(name) / str(turn)
            start, restart = (seconds_of_phases(data, storage) for _ in range(2))
            ratios.append((sum(restart) - restart[1]) / (sum(start) - start[1]))
    what = "from the command to the first epoch's end, restarted after kill -9"
    return [Claim(what=what, values=ratios, baseline="a first start", better="lower")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    starts, restarts = list[list[float]](), list[list[float]]()
    with tempfile.TemporaryDirectory() as name:
        data = write_phantoms(Path(name) / "data", patients=8, slices=8, size=64)
        for turn in range(repeats):
            storage = Path(name) / str(turn)
            starts.append(seconds_of_phases(data, storage))
            restarts.append(seconds_of_phases(data, storage))
    print(f"{'':42}{'start':>14}{'restart':>16}")
    columns = [
        [median(values) for values in zip(*runs, strict=True)] for runs in (starts, restarts)
    ]
    totals = [sum(column) - column[1] for column in columns]
    for phase, *seconds in zip(PHASES, *columns, strict=True):
        cells = (f"{s:7.1f} s {s / t:5.0%}" for s, t in zip(seconds, totals, strict=True))
        print(f"{phase:42}" + "  ".join(cells))
    print(f"{'together':42}" + "  ".join(f"{total:7.1f} s      " for total in totals))


if __name__ == "__main__":
    main()
