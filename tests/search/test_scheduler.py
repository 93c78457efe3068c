"""What the driver keeps of its trials, and that it is what the records say."""

from pathlib import Path

import pytest

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build, flatten
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.search.halving import Halving
from brainseg.search.scheduler import FINALISTS, TrialScheduler
from tests.support.written import append_line, new_run

HALVING = Halving(grace=2, reduction=3)


def params(**changes: object) -> Params:
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    return flatten(build(TrialConfig(epochs=12), paths))  # type: ignore[arg-type]


def enter(scheduler: TrialScheduler, name: str, **changes: object) -> None:
    drawn = params(**changes)
    scheduler.run.trial(name).create(drawn)
    scheduler.run.note(name, "running", params=drawn)
    scheduler.add(name, drawn)
    scheduler.start(name)


def test_a_trial_gets_its_pause_epoch_before_it_begins(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    enter(scheduler, "0000")
    assert scheduler.run.trial("0000").pause_epoch == 2


def test_a_cyclical_trial_pauses_at_the_end_of_a_cycle(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    enter(scheduler, "0000", schedule="triangular", schedule__triangular__cycle_epochs=5)
    assert scheduler.run.trial("0000").pause_epoch == 5


def test_without_halving_no_trial_pauses(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), None)
    enter(scheduler, "0000")
    assert scheduler.run.trial("0000").pause_epoch is None
    assert (
        scheduler.promotable() is scheduler.finalist() is None and scheduler.pause_reasons() == {}
    )


def test_a_trial_above_its_bar_continues_without_a_pause(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    for name, dice in (("0000", 0.2), ("0001", 0.3)):
        enter(scheduler, name)
        scheduler.on_epoch(name, 1, dice, 1.0)
        scheduler.on_epoch(name, 2, dice, 1.0)
        scheduler.pause(name)
    enter(scheduler, "0002")
    scheduler.on_epoch("0002", 1, 0.5, 1.0)
    scheduler.on_epoch("0002", 2, 0.5, 1.0)
    assert scheduler.run.trial("0002").pause_epoch == 6
    assert scheduler.run.trial("0000").pause_epoch == 2


def test_an_epoch_that_a_dying_process_repeats_counts_once(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    enter(scheduler, "0000")
    for epoch, dice in ((1, 0.1), (1, 0.1), (2, 0.3), (2, 0.3)):
        scheduler.on_epoch("0000", epoch, dice, 1.0)
    assert scheduler.trials["0000"].best == (0.1, 0.3)


def test_a_finalist_is_chosen_until_enough_reach_their_end(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    for n in range(5):
        enter(scheduler, f"000{n}")
        for epoch in (1, 2):
            scheduler.on_epoch(f"000{n}", epoch, 0.1, 1.0)
        scheduler.pause(f"000{n}")
    chosen = []
    while name := scheduler.finalist():
        scheduler.start(name, to_the_end=True)
        chosen.append(name)
    assert len(chosen) == FINALISTS and scheduler.lacking() == 0
    assert all(scheduler.run.trial(name).pause_epoch == 12 for name in chosen)


def test_seconds_of_a_whole_training_are_the_median_over_trials(tmp_path: Path) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    assert scheduler.trial_seconds() == 0
    for n, seconds in enumerate((1.0, 5.0, 2.0)):
        enter(scheduler, f"000{n}")
        scheduler.on_epoch(f"000{n}", 1, 0.1, seconds)
    assert scheduler.trial_seconds() == 12 * 2.0


@pytest.mark.parametrize("state", [*ENDED, TrialState.PAUSED])
def test_what_is_kept_can_be_read_from_the_records(tmp_path: Path, state: TrialState) -> None:
    scheduler = TrialScheduler(new_run(tmp_path), HALVING)
    enter(scheduler, "0000")
    for epoch in (1, 2):
        row = {"epoch": epoch, "dice": 0.4, "best_dice": 0.4, "seconds": 3.0, "devices": 1}
        append_line(scheduler.run.trial("0000").metrics, row)
        scheduler.on_epoch("0000", epoch, 0.4, 3.0)
    if state == TrialState.PAUSED:
        scheduler.pause("0000")
    else:
        scheduler.finish("0000", state)
    scheduler.run.note("0000", state)
    again = TrialScheduler(scheduler.run, HALVING)
    assert again.trials == scheduler.trials and again.observations(
        ["dice"]
    ) == scheduler.observations(["dice"])
