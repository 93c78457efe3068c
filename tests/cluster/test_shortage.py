"""How many trials may run as machines come and go, and what is said of a shortage; no Ray."""

import pytest

from brainseg.cluster.capacity import ClusterCapacity
from brainseg.cluster.nodes import Node
from brainseg.cluster.placement import Placement

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
