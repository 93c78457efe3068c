"""A sweep in a storm: its driver, its machines, and each fault that may strike them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil

from brainseg.cli.main import MACHINE_FAULT
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState

SWEEP = Path(__file__).with_name("chaos_sweep.py")
PATIENCE_SECONDS = 300.0  # for the next epoch


class Broken(AssertionError):
    """The sweep did not survive a fault."""


@dataclass
class Storm:
    """A sweep, its driver, and the machines that it runs on."""

    folder: Path  # of work: its storage is there
    nodes: list[subprocess.Popen[bytes]]  # beside the head
    words: Sequence[str]  # of the command
    workers: int
    drawn: random.Random
    statuses: list[int] = field(default_factory=list)  # of drivers that have ended
    driver: subprocess.Popen[bytes] | None = None
    struck_at: dict[str, int] = field(default_factory=dict)  # rows of a trial, then

    @property
    def run(self) -> Run:
        return Run(self.folder / "runs" / "chaos")

    def rows(self, trial: str) -> int:
        return len(read_lines(self.run.trial(trial).metrics))

    def epochs(self) -> int:
        """Finished by all trials together."""
        return sum(len(read_lines(file)) for file in self.run.path.glob("trials/*/metrics.jsonl"))

    def drive(self) -> None:
        """Start the driver: always the same command."""
        with (self.folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, str(SWEEP), *self.words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(SWEEP.parents[1])},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self) -> None:
        """Leave no driver behind."""
        if self.driver:
            self.driver.kill()
            self.driver.wait()

    def has_ended(self) -> bool:
        """Whether the driver has ended; its status is kept then."""
        if self.driver and self.driver.poll() is not None:
            self.statuses.append(self.driver.returncode)
            self.driver = None
        return self.driver is None

    def is_done(self) -> bool:
        """Whether the sweep has ended well."""
        return self.has_ended() and self.statuses[-1:] == [0]

    def wait(self, enough: Callable[[], bool]) -> None:
        """Wait until ``enough``, or until the sweep is done.

        A driver that ended otherwise is started again.
        """
        progressed, epochs = time.monotonic(), self.epochs()
        while not enough() and not self.is_done():
            if self.driver is None:
                self.drive()
            if self.epochs() != epochs:
                epochs, progressed = self.epochs(), time.monotonic()
            if time.monotonic() > progressed + PATIENCE_SECONDS:
                raise Broken(f"no trial finished an epoch within {PATIENCE_SECONDS:g} s")
            time.sleep(0.1)

    def wait_for_epochs(self, count: int) -> None:
        """Wait until the trials have finished ``count`` more."""
        before = self.epochs()
        self.wait(lambda: self.epochs() >= before + count)

    def wait_for_the_end(self) -> None:
        self.wait(lambda: False)

    def starts(self, trial: str) -> list[datetime]:
        """When a trial started or resumed; "": any trial."""
        files = self.run.path.glob(f"trials/{trial or '*'}/begins.jsonl")
        return sorted(datetime.fromisoformat(row["at"]) for f in files for row in read_lines(f))

    def last_words(self) -> str:
        """What its drivers printed last."""
        lines = (self.folder / "driver.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def victim(self) -> tuple[str, list[int]]:
        """A trial that has finished an epoch since it was last struck, and its processes.

        Tune tries a trial again so often only as it gets on in between.
        """
        self.wait(lambda: bool(self._running()))
        running = self._running()
        if not running:
            raise Broken("the sweep ended before all faults had struck; give it more --epochs")
        name = self.drawn.choice(sorted(running))
        self.struck_at[name] = self.rows(name)
        return name, running[name]

    def _running(self) -> dict[str, list[int]]:
        """The processes of each trial that trains and may be struck."""
        running = {}
        for record in Run(self.run.path).trials():
            starts = read_lines(self.run.trial(record.trial).starts)
            got_on = self.rows(record.trial) > self.struck_at.get(record.trial, 0)
            if record.state == TrialState.RUNNING and starts and got_on:
                processes = [worker["process"] for worker in starts[-1]["workers"]]
                if all(map(_is_ray, processes)):
                    running[record.trial] = processes
        return running


@dataclass(frozen=True)
class Struck:
    """What a fault struck."""

    what: str
    trial: str = ""  # whose processes it struck; "": all trials


def kill_driver(storm: Storm) -> Struck:
    """The sweep's driver; the trials die with it."""
    assert storm.driver
    os.killpg(storm.driver.pid, signal.SIGKILL)
    storm.driver.wait()
    return Struck(f"process {storm.driver.pid}")


def kill_worker(storm: Storm) -> Struck:
    """One of the processes that train."""
    trial, processes = storm.victim()
    rank = storm.drawn.randrange(len(processes))
    _kill(processes[rank])
    return Struck(f"rank {rank}, process {processes[rank]}", trial)


def kill_trial(storm: Storm) -> Struck:
    """The process in which Tune runs a trial; where it has several workers, it waits for them."""
    trial, processes = storm.victim()
    if storm.workers > 1:
        processes = _processes("ray::ImplicitFunc")
    process = storm.drawn.choice(processes)
    _kill(process)
    return Struck(f"process {process}", trial)


def kill_controller(storm: Storm) -> Struck:
    """Ray Train's controller of a trial of several workers."""
    trial, _ = storm.victim()
    process = storm.drawn.choice(_processes("ray::TrainController"))
    _kill(process)
    return Struck(f"process {process}", trial)


def stop_worker(storm: Storm) -> Struck:
    """A process that hangs: it is stopped, and neither trains nor dies."""
    trial, processes = storm.victim()
    process = storm.drawn.choice(processes)
    os.kill(process, signal.SIGSTOP)
    return Struck(f"process {process}", trial)


def lose_node(storm: Storm) -> Struck:
    """A machine, with all that runs on it; it does not come back."""
    node = storm.nodes.pop()
    os.killpg(node.pid, signal.SIGKILL)
    storm.struck_at |= {r.trial: storm.rows(r.trial) for r in Run(storm.run.path).trials()}
    return Struck(f"{len(storm.nodes) + 1} machines are left")


def leave_journal_lock(storm: Storm) -> Struck:
    """The driver dies while it holds the lock of Optuna's journal, made as Optuna makes it."""
    kill_driver(storm)
    journal = f"runs/{storm.run.path.name}/study.journal"  # relative, as the storage is
    with suppress(FileExistsError):
        os.symlink(journal, storm.run.journal.with_name("study.journal.lock"))
    return Struck("study.journal.lock")


def fill_disk(storm: Storm) -> Struck:
    """No space is left in the storage until the driver has ended."""
    filler = storm.folder / "runs" / "filler"
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        with filler.open("wb", buffering=0) as file:
            while not storm.has_ended():
                with suppress(OSError):  # the disk is full: it stays so, whatever is deleted
                    while True:
                        file.write(bytes(64 * 1024))
                if time.monotonic() > until:
                    raise Broken("the driver did not end although its disk is full")
                time.sleep(0.1)
    finally:
        filler.unlink()
    if storm.statuses[-1] != MACHINE_FAULT:
        raise Broken(f"with a full disk the driver ended with status {storm.statuses[-1]}")
    return Struck(f"the driver ended with status {MACHINE_FAULT}")


Fault = Callable[[Storm], Struck]
KILLS: dict[int, tuple[Fault, ...]] = {  # by the number of workers of a trial
    1: (kill_driver, kill_trial),
    2: (kill_worker, kill_driver, kill_trial, kill_controller),
}


def _processes(title: str) -> list[int]:
    """Processes of the raylets that this program started, by the beginning of their title."""
    numbers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, IndexError):
            if process.cmdline()[0].startswith(title):
                numbers.append(process.pid)
    return numbers


def _is_ray(pid: int) -> bool:
    with suppress(psutil.Error, IndexError):
        return psutil.Process(pid).cmdline()[0].startswith("ray::")
    return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
