"""How many trials fit: never none, never more than there is room for."""

import pytest

from brainseg.cluster import place

PIXELS = 16 * 256 * 256


def test_a_laptop_runs_as_many_trials_as_it_has_cores_and_memory() -> None:
    found = place({"CPU": 2, "memory": 100e9}, workers=1, gpus=None, trials=20, pixels=16 * 64 * 64)
    assert (found.concurrent, found.cpus, found.gpus) == (2, 1, 0)


def test_little_memory_means_fewer_trials_with_more_cores_each() -> None:
    found = place({"CPU": 8, "memory": 16e9}, workers=1, gpus=None, trials=20, pixels=PIXELS)
    assert found.concurrent < 8 and found.cpus == 8 // found.concurrent


def test_gpus_decide_where_there_are_any_and_cores_are_shared_out() -> None:
    found = place({"CPU": 32, "GPU": 4}, workers=1, gpus=None, trials=20, pixels=PIXELS)
    assert (found.concurrent, found.gpus, found.cpus) == (4, 1, 8)
    half = place({"CPU": 32, "GPU": 4}, workers=1, gpus=0.5, trials=20, pixels=PIXELS)
    assert half.concurrent == 8
    pair = place({"CPU": 32, "GPU": 4}, workers=2, gpus=1, trials=20, pixels=PIXELS)
    assert (pair.concurrent, pair.cpus) == (2, 8)


def test_no_more_trials_at_once_than_there_are_trials() -> None:
    found = place({"CPU": 64, "memory": 1e12}, workers=1, gpus=None, trials=3, pixels=PIXELS)
    assert (found.concurrent, found.cpus) == (3, 21)


@pytest.mark.parametrize(
    ("workers", "gpus", "words"),
    [
        (3, None, "3 workers need 3 CPUs, there are 2"),
        (1, 1.0, "1 workers of 1 GPUs need 1, there are 0"),
        (0, None, "workers must be at least 1, got 0"),
    ],
)
def test_more_than_the_machine_has_is_refused(workers: int, gpus: float | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        place({"CPU": 2}, workers=workers, gpus=gpus, trials=1, pixels=PIXELS)
