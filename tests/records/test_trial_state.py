"""A trial's state follows from its files by one rule, whatever moment its driver was killed at."""

from pathlib import Path

import pytest

from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import ENDED, TrialState
from tests.support.written import append_line, write_json, write_text

EPOCHS = 9


def folder(path: Path, epochs: int, until: int | None = None, **files: str) -> TrialDir:
    """A trial's folder with rows of so many epochs."""
    trial = TrialDir(path)
    write_json(trial.config, {"epochs": EPOCHS})
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "dice": 0.5, "best_dice": 0.5, "best_epoch": 1, "seconds": 1.0}
        append_line(trial.metrics, row)
    if until:
        trial.pause_after(until)
    for name, text in files.items():
        write_text(trial.path / name, text)
    return trial


def test_a_trial_without_a_config_is_queued(tmp_path: Path) -> None:
    assert TrialDir(tmp_path).state() == TrialState.QUEUED


@pytest.mark.parametrize("state", ENDED)
def test_a_trial_recorded_as_ended_has_ended(tmp_path: Path, state: TrialState) -> None:
    assert folder(tmp_path, 3, until=3).state(state) == state


@pytest.mark.parametrize(
    ("epochs", "until", "state"),
    [
        (0, None, TrialState.RUNNING),
        (2, 3, TrialState.RUNNING),
        (3, 3, TrialState.PAUSED),  # its driver was killed before it could note the pause
        (3, 6, TrialState.RUNNING),  # promoted at its rung
        (EPOCHS, EPOCHS, TrialState.RUNNING),  # resumed, it returns at once and is noted as done
    ],
)
def test_a_trial_under_way_is_running_unless_it_is_at_its_pause(
    tmp_path: Path, epochs: int, until: int | None, state: TrialState
) -> None:
    assert folder(tmp_path, epochs, until).state(TrialState.RUNNING) == state


def test_a_paused_trial_with_a_stop_request_stays_paused_until_its_end_is_recorded(
    tmp_path: Path,
) -> None:
    trial = folder(tmp_path, 3, until=3, stop="the budget is spent")
    assert trial.state(TrialState.PAUSED) == TrialState.PAUSED
    assert trial.state(returned=True) == TrialState.STOPPED


@pytest.mark.parametrize(
    ("epochs", "until", "files", "state"),
    [
        (3, 3, {}, TrialState.PAUSED),
        (3, 6, {}, TrialState.PAUSED),  # promoted after it had looked
        (3, 3, {"stop": "behind"}, TrialState.STOPPED),
        (EPOCHS, EPOCHS, {}, TrialState.DONE),
        (EPOCHS, EPOCHS, {"stop": "behind"}, TrialState.DONE),  # the request came too late
        (EPOCHS, EPOCHS, {"failure": "not finite"}, TrialState.FAILED),
        (3, 3, {"stop": "behind", "failure": "not finite"}, TrialState.FAILED),
    ],
)
def test_the_state_of_a_trial_that_returned_follows_from_its_folder(
    tmp_path: Path, epochs: int, until: int, files: dict[str, str], state: TrialState
) -> None:
    assert folder(tmp_path, epochs, until, **files).state(returned=True) == state
