"""What a sweep says of trials that failed, and how they are tried again: real Ray, real faults."""

from pathlib import Path

import pytest

from brainseg.cli.main import BAD_INPUT, NO_SCORE
from brainseg.data.phantom import write_phantoms
from brainseg.records.run import Run
from tests.support.sweeps import Done, brainseg

SMALL = [
    "--set=model=plain",
    "--set=model.plain.width=4",
    "--set=batch_size=4",
    "--image-size=32",
    "--validation=0.3",
    "--test=0",
    "--wandb=off",
]
OVERFLOWS = ["--set=optimizer=sgd", "--set=optimizer.sgd.lr=1e38", "--set=clip_norm=0"]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=6, size=48)


def train(patients: Path, storage: Path, *words: str) -> Done:
    return brainseg("train", f"--data={patients}", f"--storage={storage}", *SMALL, *words)


@pytest.mark.ray
def test_a_sweep_of_which_every_trial_failed_ends_with_status_3_and_says_why(
    patients: Path, tmp_path: Path
) -> None:
    done = train(patients, tmp_path, "--epochs=2", *OVERFLOWS)
    assert done.status == NO_SCORE, done
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "brainseg: no trial has a score: 1 of 1 trial failed: 0000 (the loss became"
    )
    assert last.endswith("; --retry-failed tries them again")
    assert Run(tmp_path / "train").is_whole()
    confirmed = brainseg("confirm", str(tmp_path / "train"))
    assert confirmed.status == BAD_INPUT
    assert "1 of 1 trial failed: 0000 (" in confirmed.stderr
    assert "with --retry-failed" in confirmed.stderr
