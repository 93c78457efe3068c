"""What a process died of, as Ray tells it: processes that really die, in real Rays."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from brainseg.cli.main import MACHINE_FAULT, NO_SCORE
from brainseg.data.phantom import write_phantoms
from brainseg.launch.deaths import Cause, Death, classified
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from brainseg.records.storage import StorageFault


class Process:
    """Of a cluster; it dies as it is told."""

    def killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fails(self, error: Exception) -> None:
        raise error


def death(how: str, *values: object) -> Death:
    actor = ray.remote(num_cpus=0)(Process).remote()
    try:
        ray.get(getattr(actor, how).remote(*values))
    except ray.exceptions.RayError as error:
        return classified(str(error))
    raise AssertionError("it lives")


@pytest.mark.ray
def test_a_killed_process_a_full_disk_too_little_memory_and_a_bug_are_told_apart() -> None:
    killed = death("killed")
    assert killed.cause == Cause.KILLED
    assert re.fullmatch(r"its process was killed, or crashed \(pid \d+ on [\d.]+\)", killed.words)
    full = death("fails", StorageFault(Path("/runs/a"), "No space left on device"))
    assert full.cause == Cause.STORAGE
    assert full.words.startswith("/runs/a cannot be used any longer (No space left on device)")
    disk = death("fails", OSError(28, "No space left on device", "/tmp/x"))
    assert disk.cause == Cause.STORAGE and disk.words.startswith(
        "a disk failed (OSError: [Errno 28"
    )
    short = death("fails", MemoryError("unable to allocate 3 GB"))
    assert (short.cause, short.words) == (
        Cause.MEMORY,
        "its host ran out of memory (RAM): MemoryError: unable to allocate 3 GB",
    )
    bug = death("fails", KeyError("dice"))
    assert (bug.cause, bug.words) == (Cause.CODE, "KeyError: 'dice'")


def test_a_process_that_the_kernel_killed_for_want_of_memory_is_named_so() -> None:
    text = "The actor died.\n\tpid: 7\n\tip: 10.0.0.2\nThe worker process has died."
    assert classified(text).cause == Cause.KILLED
    by_kernel = classified(text, by_kernel=True)
    assert by_kernel.cause == Cause.MEMORY and "(pid 7 on 10.0.0.2)" in by_kernel.words


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    patients = write_phantoms(tmp_path / "p", patients=6, slices=6, size=48)
    small = ["--set=model=plain", "--set=model.plain.width=4", "--set=batch_size=4"]
    small += ["--image-size=32", "--validation=0.3", "--test=0", "--wandb=off", "--epochs=3"]
    places = [f"--data={patients}", f"--storage={tmp_path}"]
    return [str(Path(sys.executable).with_name("brainseg")), "train", *places, *small]


@pytest.mark.cluster
def test_a_trial_for_which_its_host_has_too_little_memory_is_infeasible_until_there_is_more(
    command: list[str], tmp_path: Path
) -> None:
    full = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "200"}
    done = subprocess.run(
        command, env=os.environ | full, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == NO_SCORE, done.stdout + done.stderr
    record = Run(tmp_path / "train").record("0000")
    reason = record.reason
    figures = (
        r"infeasible: RAM, even alone: its host ran out of memory \(RAM\): [\d.]+ of [\d.]+ GB"
    )
    assert re.match(figures, reason) and " GB of it by the trial's process" in reason, reason
    assert record.configuration == "plain U-Net, width 4", "though it never started"
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[0000] starts: its host may have more memory now; it had failed: infeas" in done.stdout


def lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout
    yield from process.stdout


@pytest.mark.cluster
@pytest.mark.parametrize(("program", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_a_ray_that_dies_ends_the_sweep_and_no_trial(
    command: list[str], tmp_path: Path, program: str, name: str
) -> None:
    driver = subprocess.Popen(
        [*command, "--epochs=100000"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = []
    for line in lines(driver):
        said.append(line)
        if "epoch 2/" in line:
            for process in psutil.Process(driver.pid).children(recursive=True):
                if process.name() == program:
                    process.kill()
    assert driver.wait() == MACHINE_FAULT, "".join(said)
    sentence = f"brainseg: Ray has ended: its {name} died; run the same command again to resume\n"
    assert sentence in said
    run = Run(tmp_path / "train")
    assert run.record("0000").state == "running", "it resumes"
    assert read_lines(run.path / "drivers.jsonl")[-1]["reason"].startswith("Ray has ended")
