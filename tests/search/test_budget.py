"""What a sweep has spent, over all its drivers, and when it stops paying."""

from math import inf
from pathlib import Path

import pytest

from brainseg.config.sweep import Budget
from brainseg.records.run import Run
from brainseg.search.budget import BudgetTracker, earlier_hours, since_improvement
from tests.support.written import append_line


def driver(run: Run, minute: int, event: str) -> None:
    row = {"time": f"2026-11-25T10:{minute:02d}:00+00:00", "event": event}
    append_line(run.path / "drivers.jsonl", row)


def change(run: Run, minute: int, trial: str = "0000", state: str = "running") -> None:
    row = {"time": f"2026-11-25T10:{minute:02d}:00+00:00", "trial": trial, "state": state}
    append_line(run.path / "trials.jsonl", row)


def trained(run: Run, trial: str, dice: list[float], devices: int = 1) -> None:
    for epoch, score in enumerate(dice, start=1):
        row = {"epoch": epoch, "dice": score, "seconds": 6.0, "devices": devices}
        append_line(run.trial(trial).metrics, row)
        spent = {
            "epoch": epoch,
            "start": 0.0,
            "train": 5.0,
            "score": 1.0,
            "keep": 0.0,
            "devices": devices,
        }
        append_line(run.trial(trial).costs_path, spent)
    run.note(trial, "done", dice=max(dice))


def test_wall_time_adds_up_over_drivers_and_a_killed_one_counts_to_its_last_record(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    driver(run, 0, "begins")
    change(run, 3)
    driver(run, 5, "ends")
    driver(run, 20, "begins")
    change(run, 26)  # and killed
    driver(run, 40, "begins")
    change(run, 42)  # and killed
    assert earlier_hours(run) * 60 == pytest.approx(5 + 6 + 2)


def test_no_driver_yet_has_spent_nothing(tmp_path: Path) -> None:
    assert earlier_hours(Run(tmp_path)) == 0


def test_device_hours_count_every_device_of_every_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path)
    trained(run, "0000", [0.1, 0.2, 0.3], devices=4)
    trained(run, "0001", [0.1])
    assert BudgetTracker(run, Budget()).device_hours * 3600 == pytest.approx(6.0 * (3 * 4 + 1))


def test_each_limit_is_named_when_it_is_reached(tmp_path: Path) -> None:
    run = Run(tmp_path)
    trained(run, "0000", [0.1] * 10)
    driver(run, 0, "begins")
    driver(run, 30, "ends")
    assert not BudgetTracker(run, Budget(hours=0.6, device_hours=1)).spent()
    assert BudgetTracker(run, Budget(hours=0.5)).spent() == "the budget of 0.5 hours is spent"
    assert "device-hours" in BudgetTracker(run, Budget(device_hours=60 / 3600)).spent()


def test_the_rest_of_a_budget_is_divided_among_the_slots(tmp_path: Path) -> None:
    budget_tracker = BudgetTracker(Run(tmp_path), Budget(hours=1))
    assert 3500 < budget_tracker.seconds_left(places=1) < 3700
    assert 7100 < budget_tracker.seconds_left(places=2) < 7300
    assert BudgetTracker(Run(tmp_path), Budget()).seconds_left(places=1) == inf


def judged(*scores: tuple[str, float | None]) -> list[dict[str, object]]:
    return [{"trial": trial, "state": "paused", "dice": dice} for trial, dice in scores]


def test_an_improvement_must_be_beyond_the_noise() -> None:
    events = judged(("a", 0.5), ("b", 0.505), ("c", 0.4), ("d", None))
    assert since_improvement(events, noise=0.01) == (3, 0.5)
    assert since_improvement(events, noise=0.001) == (2, 0.505)


def test_a_trial_that_is_judged_again_counts_once() -> None:
    events = judged(("a", 0.5), ("b", 0.3), ("b", 0.4), ("a", 0.5), ("b", 0.45))
    assert since_improvement(events, noise=0.0) == (1, 0.5)


def test_noise_is_what_dice_moves_late_in_whole_trainings(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert BudgetTracker(run, Budget()).noise() == 0
    trained(run, "0000", [0.0, 0.3, 0.6] + [0.7, 0.72] * 9)
    run.note("0001", "paused", dice=0.9)
    # changes of +-0.02, so a deviation of 0.02 / sqrt(2) an epoch
    assert BudgetTracker(run, Budget()).noise() == pytest.approx(0.02 / 2**0.5, rel=0.05)


def test_patience_gives_its_reason_in_a_sentence(tmp_path: Path) -> None:
    run = Run(tmp_path)
    trained(run, "0000", [0.6, 0.7])
    for n in range(1, 4):
        trained(run, f"000{n}", [0.2, 0.3])
    assert not BudgetTracker(run, Budget()).stalled()
    assert not BudgetTracker(run, Budget(patience=4)).stalled()
    assert BudgetTracker(run, Budget(patience=3)).stalled() == (
        "none of the last 3 trials improved the best Dice, 0.700, by more than the noise, 0.000"
    )
