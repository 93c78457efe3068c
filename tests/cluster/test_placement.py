"""How many trials fit at once: never none, never more than the machines have room for."""

from collections.abc import Sequence

import pytest

from brainseg.cluster.placement import NoRoom, Placement, Room, capacity, place

SMALL = 16 * 64 * 64  # pixels of a batch
LARGE = 16 * 256 * 256


def room(cpus: float, gpus: float = 0.0, memory: float = 1e12) -> Room:
    return Room(cpus=cpus, gpus=gpus, memory=memory)


def placed(
    rooms: Sequence[Room],
    *,
    workers: int = 1,
    gpus: float | None = None,
    trials: int = 20,
    pixels: int = SMALL,
) -> Placement:
    placement = place(rooms, workers=workers, gpus=gpus, trials=trials, pixels=pixels)
    assert 1 <= placement.concurrent <= min(trials, capacity(rooms, placement))
    return placement


def test_a_laptop_runs_as_many_trials_as_it_has_cores_and_memory() -> None:
    placement = placed([room(2, memory=100e9)])
    assert (placement.concurrent, placement.cpus, placement.gpus) == (2, 1, 0)


def test_little_memory_means_fewer_trials_with_more_cores_each() -> None:
    placement = placed([room(8, memory=16e9)], pixels=LARGE)
    assert placement.concurrent < 8 and placement.cpus == 8 // placement.concurrent


def test_a_machine_whose_memory_may_be_too_small_still_tries_one_trial() -> None:
    for workers in (1, 2, 3):
        placement = placed([room(8, memory=1e9)], workers=workers, pixels=LARGE)
        assert placement.concurrent == 1


def test_gpus_decide_where_there_are_any_and_cores_are_shared_out() -> None:
    box = [room(32, gpus=4)]
    assert (placed(box).concurrent, placed(box).gpus, placed(box).cpus) == (4, 1, 8)
    assert placed(box, gpus=0.5).concurrent == 8
    pair = placed(box, workers=2, gpus=1)
    assert (pair.concurrent, pair.cpus) == (2, 8)


def test_a_share_of_a_gpu_is_never_put_together_from_two() -> None:
    assert placed([room(32, gpus=2)], gpus=0.4).concurrent == 4
    assert [placed([room(32, gpus=1)], gpus=1 / n).concurrent for n in (3, 5, 7, 10)] == [
        3,
        5,
        7,
        10,
    ]


def test_beside_a_gpu_a_worker_leaves_cpus_to_machines_that_come_later_and_to_others() -> None:
    placement = placed([room(32, gpus=1)])
    assert placement.cpus == 8 and capacity([room(32, gpus=1), room(16, gpus=1)], placement) == 2
    assert placed([room(32, gpus=4)], trials=2).cpus == 8


def test_no_more_trials_at_once_than_there_are_trials() -> None:
    placement = placed([room(64)], trials=3, pixels=LARGE)
    assert (placement.concurrent, placement.cpus) == (3, 21)


def test_cores_of_two_machines_make_no_worker() -> None:
    """A head without a GPU has CPUs as well; a worker on the GPU's machine cannot use them."""
    placement = placed([room(8), room(8, gpus=1)])
    assert (placement.concurrent, placement.cpus) == (1, 8)
    assert placed([room(3), room(3)], trials=1).cpus == 3


def test_uneven_machines_are_filled_each_by_itself() -> None:
    placement = placed([room(8, gpus=2), room(3, gpus=1), room(1, gpus=4)])
    assert (placement.concurrent, placement.cpus) == (4, 1)


def test_the_workers_of_a_trial_stay_on_one_machine_where_that_costs_no_trial() -> None:
    boxes = [room(8, gpus=2), room(8, gpus=2)]
    assert placed(boxes, workers=2).together
    assert placed(boxes, workers=2).concurrent == 2


def test_workers_part_where_no_machine_holds_them_all_or_more_trials_run_so() -> None:
    pair = placed([room(4, gpus=1), room(4, gpus=1)], workers=2)
    assert (pair.concurrent, pair.together) == (1, False)
    three = [room(3), room(3)]
    assert (placed(three, workers=2).concurrent, placed(three, workers=2).together) == (3, False)
    assert placed(three, workers=2, trials=2).together


def test_a_machine_that_joins_makes_room_and_one_that_leaves_takes_it() -> None:
    placement = placed([room(2), room(2)], workers=2)
    assert capacity([room(2)], placement) == 1
    assert capacity([room(2)] * 5, placement) == 5
    assert capacity([room(1)] * 5, placement) == 0, "they are kept together"


@pytest.mark.parametrize(
    ("workers", "gpus", "words"),
    [
        (3, None, "each needs 3 worker.s. of 1 CPU.s., and the machines have 2 CPU"),
        (1, 1.0, "each needs 1 worker.s. of 1 CPU.s. and 1 GPU"),
    ],
)
def test_more_than_the_machines_have_is_refused(
    workers: int, gpus: float | None, words: str
) -> None:
    with pytest.raises(NoRoom, match=words):
        placed([room(2)], workers=workers, gpus=gpus)
    with pytest.raises(NoRoom, match="the machines have none"):
        placed([], workers=workers, gpus=gpus)


@pytest.mark.parametrize(
    ("workers", "gpus", "words"),
    [
        (0, None, "workers must be at least 1, got 0"),
        (1, 1.5, "a share of one GPU, as 0.5, or a whole number, got 1.5"),
        (1, -1.0, "got -1"),
        (1, float("nan"), "got nan"),
        (1, float("inf"), "got inf"),
        (2, 0.5, "cannot share a GPU"),
    ],
)
def test_a_wrong_wish_is_refused_whatever_there_is(
    workers: int, gpus: float | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        placed([room(64, gpus=8)], workers=workers, gpus=gpus)
