"""What an autoscaler may add to the machines that there are."""

from typing import Any

from brainseg.cluster.autoscaler import rooms_to_add
from brainseg.cluster.nodes import Node
from brainseg.cluster.placement import Room

CONFIG: dict[str, Any] = {
    "head_node_type": "head",
    "max_workers": 4,
    "available_node_types": {
        "head": {"resources": {"CPU": 8, "GPU": 0}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 16}, "max_workers": 2},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 3},
    },
}
CPU, GPU = Room(cpus=16), Room(cpus=8, gpus=1)


def node(cpus: float, gpus: float = 0.0, *, is_head: bool = False) -> Node:
    return Node(id="", host="", ip="", cpus=cpus, gpus=gpus, memory=1.0, is_head=is_head)


def test_a_head_alone_may_get_all_its_workers_gpus_first() -> None:
    assert rooms_to_add(CONFIG, [node(8, is_head=True)]) == [GPU, GPU, GPU, CPU]


def test_what_is_there_already_may_not_come_again() -> None:
    there = [node(8, is_head=True), node(8, 1), node(8, 1), node(16)]
    assert rooms_to_add(CONFIG, there) == [GPU]


def test_where_nothing_is_known_of_an_autoscaler_nothing_may_come() -> None:
    assert rooms_to_add({}, [node(8, is_head=True)]) == []


def test_machines_named_one_by_one_whose_size_ray_finds_out_later_promise_nothing() -> None:
    local = {"available_node_types": {"local.cluster.node": {"resources": {}}}, "max_workers": 3}
    assert rooms_to_add(local, [node(8, is_head=True)]) == []


def test_of_two_types_of_one_size_each_living_machine_counts_once() -> None:
    kind = {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4}
    config = {"max_workers": 8, "available_node_types": {"spot": kind, "on demand": kind}}
    there = [node(8, is_head=True), *[node(8, 1)] * 3]
    assert rooms_to_add(config, there) == [GPU] * 5
    assert rooms_to_add(config, [*there, node(8, 1), node(8, 1)]) == [GPU] * 3
