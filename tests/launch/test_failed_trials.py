"""What a sweep says of trials that failed, and how they are tried again: real Ray, real faults."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from brainseg.cli.main import BAD_INPUT, INTERRUPTED, NO_SCORE
from brainseg.data.phantom import write_phantoms
from brainseg.records.checkpoint_index import newest_epoch
from brainseg.records.files import write_text
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from tests.support.sweeps import Done, brainseg

SMALL = [
    "--set=model=plain",
    "--set=model.plain.width=4",
    "--set=batch_size=4",
    "--image-size=32",
    "--validation=0.3",
    "--test=0",
    "--wandb=off",
    "--checkpoint-every=0",
]
EPOCHS = "--epochs=100000"  # more than any test waits for
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


@contextmanager
def once(happened: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Act in a thread as soon as something has happened in the block."""

    def watch() -> None:
        while not happened():
            time.sleep(0.05)
        act()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join(10)


def interrupted(patients: Path, storage: Path) -> TrialDir:
    """A sweep of one trial that was interrupted after two epochs or more."""
    trial = Run(storage / "train").trial("0000")
    with once(lambda: len(trial.rows()) > 1, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        done = train(patients, storage, EPOCHS)
    assert done.status == INTERRUPTED, done
    return trial


def stop(trial: TrialDir) -> None:
    write_text(trial.stop, "long enough")


def optuna_states(run: Run) -> list[str]:
    backend = JournalFileBackend(str(run.journal))
    study = optuna.load_study(study_name=run.path.name, storage=JournalStorage(backend))
    return [trial.state.name for trial in study.trials]


@pytest.mark.ray
def test_a_failed_trial_is_tried_again_when_asked_and_goes_on_from_its_last_checkpoint(
    patients: Path, tmp_path: Path
) -> None:
    trial, run = interrupted(patients, tmp_path), Run(tmp_path / "train")
    write_text(trial.failure, "out of GPU memory")  # and then its driver died
    before, kept = trial.rows(), newest_epoch(trial.path)  # a kill may come between the two
    assert 0 < kept >= len(before) - 1
    done = train(patients, tmp_path, EPOCHS)
    assert done.status == NO_SCORE and "0000 (out of GPU memory)" in done.stderr, done
    assert trial.rows() == before and optuna_states(run) == ["FAIL"]
    with once(lambda: len(trial.rows()) > len(before) + 1, lambda: stop(trial)):
        done = train(patients, tmp_path, EPOCHS, "--retry-failed")
    assert done.status == 0, done
    why = "--retry-failed; it had failed: out of GPU memory"
    assert f"[0000] resumes after epoch {kept}: {why}" in done.stdout, done
    assert trial.rows()[:kept] == before[:kept]
    assert [row.epoch for row in trial.rows()] == list(range(1, len(trial.rows()) + 1))
    record = run.record("0000")
    assert (record.state, record.reason, record.retry) == ("stopped", "long enough", why)
    assert optuna_states(run) == ["FAIL", "PRUNED"]
    assert "Trial 0000 was tried again: --retry-failed; it had failed" in done.stdout


@pytest.mark.ray
def test_a_trial_whose_damaged_checkpoints_were_removed_is_tried_again_by_itself(
    patients: Path, tmp_path: Path
) -> None:
    trial = interrupted(patients, tmp_path)
    for path in trial.path.glob("latest-*.pt"):
        path.write_bytes(b"no longer a checkpoint")
    done = train(patients, tmp_path, EPOCHS)
    assert done.status == NO_SCORE and "no checkpoint in" in done.stderr, done
    assert train(patients, tmp_path, EPOCHS).status == NO_SCORE, "nobody did what it asked"
    index = trial.path / "checkpoints.json"
    index.unlink()
    with once(index.exists, lambda: stop(trial)):
        done = train(patients, tmp_path, EPOCHS)
    assert done.status == 0 and "its damaged checkpoints were removed" in done.stdout, done
    assert [row.epoch for row in trial.rows()] == list(range(1, len(trial.rows()) + 1))
