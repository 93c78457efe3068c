"""A sweep under a storm of faults ends with the tables of one that nothing disturbed.

    python -m benchmarks.chaos --kills 28 --seed 0    all faults, in an order that the seed draws
    python -m benchmarks.chaos --short                few of them: a test, some minutes

The sweep of chaos_sweep.py runs on three raylets of this machine, with one worker a trial and then
with two: first undisturbed, then while the faults of chaos_faults.py strike it, each once trials
have finished some epochs since the last. Whenever its driver has ended, the same command starts it
again. At the end tables, curves, states and what Optuna holds must be equal; only what was measured
in seconds may differ.

The seed fixes the order of the faults and who is struck; the epoch in which a fault strikes depends
on the machine. To fill the disk takes root: the storage is then a small disk of these processes.
"""

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.chaos_faults import (
    KILLS,
    Broken,
    Fault,
    Storm,
    Struck,
    fill_disk,
    leave_journal_lock,
    lose_node,
    stop_worker,
)
from brainseg.data.phantom import write_phantoms
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from tests.support.raylets import Raylets, raylets

TIMED = {  # columns that may differ: they are measured in seconds, or count what was lost
    "repeats",
    *("seconds", "start_seconds", "train_seconds", "score_seconds", "device_seconds"),
    *("images_per_second", "milliseconds_per_image"),
}
EPOCHS_BETWEEN = 3  # that trials finish between two faults
DISK_MEGABYTES = 48
OWN_DISKS = "CHAOS_OWN_DISKS"  # set where these processes may mount disks that no others see


@dataclass(frozen=True)
class Weather:
    """What strikes the sweep with so many workers a trial."""

    workers: int
    epochs: int  # of each trial: enough that it still trains when the last fault strikes
    faults: tuple[Fault, ...]
    seeds: str = "0,1"  # of each of the sweep's configurations


def full(kills: int, *, disk: bool, drawn: random.Random) -> list[Weather]:
    """All faults; of the kills a quarter strikes trials of two workers."""
    once = (lose_node, stop_worker, leave_journal_lock, *[fill_disk] * (2 * disk))
    two = kills // 4
    weathers = []
    for workers, count, others in ((1, kills - two, once), (2, two, ())):
        kinds = KILLS[workers]
        faults = [*(kinds[number % len(kinds)] for number in range(count)), *others]
        drawn.shuffle(faults)
        weathers.append(Weather(workers, 20 + 3 * len(faults), tuple(faults)))
    return weathers


def short(*, disk: bool) -> list[Weather]:
    """Few faults, in a fixed order."""
    one = (*KILLS[1], *[fill_disk] * disk, lose_node, leave_journal_lock)
    return [Weather(1, 30, one), Weather(2, 15, KILLS[2][:2], seeds="0")]


def endure(weather: Weather, folder: Path, drawn: random.Random) -> list[str]:
    """Run the sweep undisturbed, then in this weather; return what differs in the end."""
    data = write_phantoms(folder / "data", patients=6, slices=8, size=32)
    words = [f"--data={data}", "--storage=runs", "--wandb=off", "--stall-minutes=1"]
    words += [f"--workers={weather.workers}", f"--epochs={weather.epochs}"]
    words.append(f"--seeds={weather.seeds}")
    with machines() as (cluster, nodes):
        words.append(f"--address={cluster.address}")
        calm, storm = (
            Storm(prepared(folder / name), nodes, words, weather.workers, drawn)
            for name in ("calm", "storm")
        )
        start = time.monotonic()
        try:
            calm.wait_for_the_end()
            calm_seconds = time.monotonic() - start
            say(f"{weather.workers} worker(s), calm: {calm.epochs()} epochs, {calm_seconds:.0f} s")
            strikes = strike(storm, weather.faults)
            storm.wait_for_the_end()
        except Broken as broken:
            kept = shutil.copytree(folder, tempfile.mkdtemp(prefix="broken-"), dirs_exist_ok=True)
            say(f"{storm.last_words()}\nkept: {kept}")
            return [str(broken)]
        finally:
            calm.end()
            storm.end()
    lost = (time.monotonic() - start - 2 * calm_seconds) / len(strikes)
    drivers = f"{len(storm.statuses)} drivers, statuses {storm.statuses}"
    say(f"{weather.workers} worker(s), storm: {len(strikes)} faults, {drivers}")
    say(f"{lost:.1f} s lost a fault")
    for name, seconds in recovery(storm, strikes).items():
        times = f"{median(seconds):.0f} s, at most {max(seconds):.0f} s" if seconds else "none"
        say(f"  {name} x {len(seconds)}: until the trial trains again {times}")
    unequal = differences(outcome(calm.run), outcome(storm.run))
    say(
        "  different: " + ", ".join(unequal) if unequal else "  tables, curves and states are equal"
    )
    return unequal


Strikes = list[tuple[str, Struck, datetime]]  # of which fault, what it struck, when


def strike(storm: Storm, faults: Sequence[Fault]) -> Strikes:
    """Let each fault strike once trials have got on since the last."""
    strikes: Strikes = []
    for number, fault in enumerate(faults, start=1):
        storm.wait_for_epochs(EPOCHS_BETWEEN)
        if storm.is_done():
            raise Broken(f"the sweep ended before fault {number} of {len(faults)}: too few epochs")
        struck, at = fault(storm), datetime.now(UTC)
        strikes.append((fault.__name__, struck, at))
        trial = f" [{struck.trial}]" if struck.trial else ""
        say(
            f"{number:3} {at:%H:%M:%S} epoch {storm.epochs()} {fault.__name__}{trial} {struck.what}"
        )
    return strikes


def recovery(storm: Storm, strikes: Strikes) -> dict[str, list[float]]:
    """By fault, the seconds from each strike until what it struck had started again."""
    seconds: dict[str, list[float]] = {}
    for name, struck, at in strikes:
        starts = [start for start in storm.starts(struck.trial) if start >= at]
        later = seconds.setdefault(name, [])
        later += [(start - at).total_seconds() for start in starts[:1]]
    return seconds


def outcome(run: Run) -> dict[str, Any]:
    """All that a sweep found, without what was measured in seconds."""
    facts: dict[str, Any] = {}
    for record in run.trials():
        folder = run.trial(record.trial)
        facts[record.trial] = (record.state, record.dice, record.best_epoch, record.reason)
        facts[f"{record.trial} curve"] = [_untimed(row) for row in read_lines(folder.metrics)]
        for path in (folder.patients, folder.last):
            facts[f"{record.trial} {path.name}"] = path.read_text() if path.exists() else None
    with run.results.open(newline="") as file:
        facts["results.csv"] = [_untimed(row) for row in csv.DictReader(file)]
    storage = JournalStorage(JournalFileBackend(str(run.journal)))
    for trial in optuna.load_study(study_name=run.path.name, storage=storage).trials:
        values = trial.values if trial.state != optuna.trial.TrialState.FAIL else None
        facts[f"Optuna {trial.number:04d}"] = (trial.state.name, values, trial.params)
    return facts


def differences(undisturbed: dict[str, Any], disturbed: dict[str, Any]) -> list[str]:
    """What is not equal, by its name."""
    names = sorted(undisturbed.keys() | disturbed.keys())
    return [name for name in names if undisturbed.get(name) != disturbed.get(name)]


def prepared(folder: Path) -> Path:
    """A folder to run a sweep in; its storage is a small disk where that can be."""
    storage = folder / "runs"
    storage.mkdir(parents=True)
    if OWN_DISKS in os.environ:
        size = f"size={DISK_MEGABYTES}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(storage)], check=True)
    return folder


def say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def machines() -> Iterator[tuple[Raylets, list[subprocess.Popen[bytes]]]]:
    """A head and two nodes, of one CPU each; Ray's sockets need a short path."""
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as short,
        raylets(Path(short), cpus=1) as cluster,
    ):
        nodes = []
        for count in (2, 3):  # one after the other: of two that join at once one may hang
            nodes.append(cluster.join(cpus=1))
            _wait_for_nodes(cluster, count)
        yield cluster, nodes


def _wait_for_nodes(cluster: Raylets, count: int) -> None:
    wait = "import ray, time; ray.init(log_to_driver=False, logging_level='ERROR')\n"
    wait += f"while len(ray.nodes()) < {count}: time.sleep(1)"
    env = {**os.environ, "RAY_ADDRESS": cluster.address}
    subprocess.run([sys.executable, "-c", wait], env=env, check=True, timeout=300)


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMED}


def with_own_disks(argv: Sequence[str]) -> list[str]:
    """The command that runs this program where it may mount disks; empty if that cannot be."""
    alone = ["unshare", "--mount", "--propagation", "private"]
    probe = [*alone, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        return []
    return [*alone, sys.executable, "-m", "benchmarks.chaos", *argv]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=28, help="a quarter strikes two workers")
    parser.add_argument("--seed", type=int, default=0, help="draws the order of the faults")
    parser.add_argument("--short", action="store_true", help="few faults, in a fixed order")
    args = parser.parse_args(argv)
    disk = OWN_DISKS in os.environ
    if not disk and (command := with_own_disks(argv)):
        return subprocess.run(command, env={**os.environ, OWN_DISKS: "yes"}).returncode
    if not disk:
        say("the disk is not filled: no disks can be mounted here, which takes root")
    drawn, unequal = random.Random(args.seed), list[str]()
    weathers = short(disk=disk) if args.short else full(args.kills, disk=disk, drawn=drawn)
    with tempfile.TemporaryDirectory(prefix="chaos", ignore_cleanup_errors=True) as name:
        os.environ |= {"BRAINSEG_CACHE": f"{name}/cache", "RAY_AUTH_MODE": "disabled"}
        os.environ |= {"RAY_raylet_start_wait_time_s": "300"}  # on a busy machine
        for weather in weathers:
            unequal += endure(weather, Path(name) / str(weather.workers), drawn)
    say("something is different" if unequal else "all is equal")
    return int(bool(unequal))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
