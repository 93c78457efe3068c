"""A sweep whose trials find no room says so every minute, and ends after a limit; no Ray needed."""

from collections.abc import Sequence

import pytest

from brainseg.launch.room_timeout import End, RoomTimeout, Wait, Warn

Look = tuple[float, int, int]  # seconds; trials that the cluster owes their workers; running trials


def decisions(looks: Sequence[Look], *, minutes: float = 30, workers: int = 1) -> list[str]:
    timeout = RoomTimeout(minutes=minutes, workers=workers)
    return [type(timeout.decide(*look)).__name__ for look in looks]


def test_it_warns_each_minute_and_ends_after_its_limit() -> None:
    timeout = RoomTimeout(minutes=2, workers=1)
    looks = {now: timeout.decide(now, 1, 0) for now in range(0, 121, 5)}
    assert {now: look for now, look in looks.items() if not isinstance(look, Wait)} == {
        60: Warn(60),
        120: End(120),
    }
    assert looks[0] == Wait() and looks[5] == Wait(5), "later looks give back what is held in vain"


@pytest.mark.parametrize("minutes", [0, 0.1])
def test_a_single_check_is_never_enough_to_end(minutes: float) -> None:
    waiting = [(now, 1, 0) for now in (0.0, 5.0, 10.0)]
    assert decisions(waiting, minutes=minutes) == ["Wait", "Wait", "End"]


@pytest.mark.parametrize(
    "moment",
    [
        (30.0, 0, 0),  # its workers are there and start
        (30.0, 1, 1),  # another trial trains
    ],
)
def test_the_timeout_restarts_unless_all_trials_wait(moment: Look) -> None:
    before, after = [(0.0, 1, 0), (25.0, 1, 0)], [(35.0, 1, 0), (65.0, 1, 0), (95.0, 1, 0)]
    assert decisions([*before, moment, *after], minutes=1) == [*["Wait"] * 5, "End"]


def test_the_timeout_restarts_when_an_epoch_ends() -> None:
    timeout = RoomTimeout(minutes=1, workers=1)
    timeout.decide(0, 1, 0)
    timeout.trained()
    assert timeout.decide(65, 1, 0) == Wait()


def test_trials_of_several_workers_run_while_they_wait_for_them() -> None:
    """As Tune sees it: such a trial runs, and asks for its workers itself."""
    looks = [(0.0, 2, 2), (60.0, 2, 2)]
    assert decisions(looks, minutes=1, workers=2) == ["Wait", "End"]
    assert decisions(looks, minutes=1, workers=1) == ["Wait", "Wait"]
    one_trains = [(0.0, 1, 2), (60.0, 1, 2)]
    assert decisions(one_trains, minutes=1, workers=2) == ["Wait", "Wait"]
