"""How many trials may run as machines come and go, and what a shortage says; no Ray needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from brainseg.cluster.capacity import ClusterCapacity, wait_for_room
from brainseg.cluster.nodes import Node
from brainseg.cluster.placement import NoRoom, Placement, Room, place

PAIR = Placement(workers=2, cpus=1, gpus=0, concurrent=1)  # together on one machine
CLOUD = {
    "max_workers": 3,
    "available_node_types": {"small": {"resources": {"CPU": 2}, "max_workers": 3}},
}


def node(name: str, cpus: float) -> Node:
    head = name == "a"
    return Node(id=name, host=name, ip="10.0.0.1", cpus=cpus, gpus=0, memory=1e12, is_head=head)


def capacity(
    log: list[str], *, most: int = 9, unbounded: bool = False, cloud: bool = False
) -> ClusterCapacity:
    return ClusterCapacity(
        PAIR,
        most=most,
        unbounded=unbounded,
        shared=False,
        must_see=(),
        log=log.append,
        config=CLOUD if cloud else {},
    )


def slots(capacity: ClusterCapacity, *nodes: Node) -> int:
    capacity.update(nodes)
    return capacity._slots


def test_slots_follow_the_machines_and_each_change_is_logged() -> None:
    log: list[str] = []
    cluster = capacity(log)
    assert slots(cluster, node("a", 4)) == 2 and not log
    assert slots(cluster, node("a", 4), node("b", 2)) == 3
    assert slots(cluster, node("b", 2)) == 1
    assert log == [
        "joined: b (10.0.0.1) with 2 CPU(s)",
        "there is room for 3 trials at once",
        "left: a (10.0.0.1) with 4 CPU(s)",
        "there is room for 1 trials at once",
    ]


@pytest.mark.parametrize(
    ("most", "unbounded", "cloud", "expected"),
    [
        (9, False, False, 1),  # none fits: one waits, and an autoscaler learns what is needed
        (9, False, True, 3),  # three machines may join
        (2, False, True, 2),
        (9, True, False, 9),
    ],
    ids=["at least one", "what may join", "at most", "limits unknown"],
)
def test_slots_where_no_trial_fits_yet(
    most: int, unbounded: bool, cloud: bool, expected: int
) -> None:
    assert slots(capacity([], most=most, unbounded=unbounded, cloud=cloud), node("a", 1)) == (
        expected
    )


def test_a_shortage_says_what_is_needed_what_there_is_and_the_cause() -> None:
    cluster = capacity([], cloud=True)
    needs = "a trial needs 2 worker(s) of 1 CPU(s) on one machine; the machines are"
    cluster.update([node("a", 1)])
    assert cluster.shortage() == (
        f"{needs} a 1 CPU(s), and the autoscaler may add room for 3 trials: no machine has that "
        "much"
    )
    cluster.update([node("a", 2)])
    assert cluster.shortage() == f"{needs} a 2 CPU(s): other programs use what it needs"
    cluster.update([])
    assert cluster.shortage().startswith(f"{needs} none, and the autoscaler")


def fill(rooms: Sequence[Room]) -> Placement:
    return place(rooms, workers=2, gpus=None, trials=2, pixels=1)


ONE, TWO = [Room(cpus=1)], [Room(cpus=1), Room(cpus=1)]
SHORT = "each needs 2 worker(s) of 1 CPU(s), and the machines have 1 CPU(s)"


class Request:
    """What an autoscaler gets: whether room was requested, and is no longer."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def entered(self) -> Iterator[None]:
        self.events.append("asked")
        try:
            yield
        finally:
            self.events.append("withdrawn")


def test_a_sweep_waits_for_a_machine_and_asks_for_it_until_it_joins() -> None:
    looks, log, request = iter([ONE, ONE, TWO]), list[str](), Request()
    placement = wait_for_room(
        fill, lambda: next(looks), request.entered(), wait_minutes=1, log=log.append
    )
    assert placement.concurrent == 1 and request.events == ["asked", "withdrawn"]
    (line,) = log
    assert SHORT in line and line.endswith("; waiting up to 1 min for machines to join")


def test_a_sweep_that_finds_no_room_says_what_is_short_and_ends() -> None:
    log, request = list[str](), Request()
    with pytest.raises(ValueError) as refused:
        wait_for_room(fill, lambda: ONE, request.entered(), wait_minutes=0.02, log=log.append)
    assert SHORT in str(refused.value) and request.events == ["asked", "withdrawn"]
    assert str(refused.value).endswith("; no machine that fits joined within 0.02 min")


def test_a_machine_that_nobody_can_join_is_not_waited_for() -> None:
    request = Request()
    with pytest.raises(NoRoom):
        wait_for_room(fill, lambda: ONE, request.entered(), wait_minutes=0, log=print)
    assert not request.events
