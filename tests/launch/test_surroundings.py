"""Surroundings that fail in the middle: one sentence, status 4, and the same command resumes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.records.files import read_json, read_lines
from tests.support.waiting import is_gone, until

MAIN = "import sys; sys.argv[0] = 'brainseg'; from brainseg.cli.main import main; main()"
TINY = ["--set=model=plain", "--set=model.plain.width=4", "--set=batch_size=4", "--image-size=32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is run: it holds the data and the cache."""
    folder = tmp_path_factory.mktemp("work")
    write_phantoms(folder / "d", patients=6, slices=4, size=64, seed=0)
    return folder


def train(folder: Path, storage: str, epochs: int, *words: str) -> list[str]:
    options = [f"--epochs={epochs}", f"--storage={storage}", "--name=a", "--wandb=off", *words]
    return [sys.executable, "-c", MAIN, "train", f"--data={folder / 'd'}", *TINY, *options]


def settings(folder: Path) -> dict[str, str]:
    return os.environ | {"BRAINSEG_CACHE": str(folder / "cache")}


def tables(run: Path) -> tuple[bytes, list[float]]:
    trial = run / "trials" / "0000"
    rows = read_lines(trial / "metrics.jsonl")
    return (trial / "last.csv").read_bytes(), [row["dice"] for row in rows]


FULL = """
mount -t tmpfs -o size=1m tmpfs "$1" || exit 77
shift
"$@"; echo "status $?"
mount -o remount,size=100m tmpfs "$STORAGE"
"$@"; echo "status $?"
cp -r "$STORAGE/a" "$STORAGE.kept"
"""


@pytest.mark.cluster
def test_a_storage_that_is_full_ends_a_sweep_which_resumes_once_there_is_room(folder: Path) -> None:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("only root can mount a file system")
    storage = folder / "full"
    storage.mkdir()
    bash = ["unshare", "-m", "bash", "-c", FULL, "_", str(storage)]
    done = subprocess.run(
        [*bash, *train(folder, str(storage), 2)],
        capture_output=True,
        text=True,
        env=settings(folder) | {"STORAGE": str(storage)},
    )
    if done.returncode == 77:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    statuses = [line for line in done.stdout.splitlines() if line.startswith("status")]
    assert statuses == ["status 4", "status 0"], f"{done.stdout}{done.stderr}"
    assert done.stderr.splitlines() == [
        f"brainseg: {storage}/a cannot be used any longer (No space left on device); make room, "
        "or mount it again, then run the same command to resume"
    ]
    subprocess.run(train(folder, str(folder / "roomy"), 2), check=True, env=settings(folder))
    assert tables(folder / "full.kept") == tables(folder / "roomy" / "a")
    _, ends, *_ = read_lines(folder / "full.kept" / "drivers.jsonl")
    assert "No space left" in ends["reason"] and not ends["whole"]


class Sweep:
    """A command that trains, in a process of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.output = folder / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env=settings(folder)
            )

    def wait_for(self, word: str) -> None:
        """Until it has printed ``word``."""
        while word not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.05)

    def started(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def sweep(folder: Path) -> Iterator[Callable[[], Sweep]]:
    """Starts the command that trains for many epochs."""
    sweeps: list[Sweep] = []

    def start() -> Sweep:
        sweeps.append(Sweep(train(folder, str(folder / "s"), 40), folder))
        return sweeps[-1]

    yield start
    for sweep in sweeps:
        sweep.process.kill()


@pytest.mark.cluster
def test_a_folder_that_is_moved_away_is_not_made_again_and_a_second_signal_ends_at_once(
    folder: Path, sweep: Callable[[], Sweep]
) -> None:
    run, moved = folder / "s" / "a", folder / "s" / "moved"
    first = sweep()
    first.wait_for("epoch 2/")
    run.rename(moved)
    assert first.process.wait(60) == 4
    assert first.output.read_text().splitlines()[-1] == (
        f"brainseg: {run} cannot be used any longer (it is no longer there); make room, or mount "
        "it again, then run the same command to resume"
    )
    assert list((folder / "s").iterdir()) == [moved]

    moved.rename(run)
    second = sweep()
    second.wait_for("resumes after epoch")
    second.wait_for("  dice ")
    started = second.started()
    assert len(started) > 3
    for stop in (signal.SIGINT, signal.SIGTERM):
        second.process.send_signal(stop)
        time.sleep(1)
    assert second.process.wait(30) == 130
    until(lambda: all(map(is_gone, started)))
    for path in run.rglob("*.json"):
        read_json(path)
    for path in run.rglob("*.jsonl"):
        assert all(json.loads(line) for line in path.read_text().splitlines())

    third = sweep()
    assert third.process.wait(300) == 0, third.output.read_text()
    assert not [path for path in run.rglob(".*") if path.is_file()]
    subprocess.run(train(folder, str(folder / "whole"), 40), check=True, env=settings(folder))
    assert tables(run) == tables(folder / "whole" / "a")


@pytest.mark.cluster
def test_a_sweep_that_is_asked_to_end_while_ray_starts_says_how_to_resume(
    sweep: Callable[[], Sweep],
) -> None:
    first = sweep()
    while not any("gcs_server" in process.name() for process in first.started()):
        assert first.process.poll() is None, first.output.read_text()
        time.sleep(0.05)
    started = first.started()
    first.process.terminate()  # Ray's own handler is in place: it would end with status 15
    assert first.process.wait(60) == 130
    last = first.output.read_text().splitlines()[-1]
    assert last == "brainseg: interrupted; run the same command again to resume"
    until(lambda: all(map(is_gone, started)), seconds=60)
