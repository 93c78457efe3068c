"""The order of findings, the verdict that counts them, and labels of nodes (`collect`)."""

from dataclasses import replace

from brainseg.cluster.nodes import Node
from brainseg.cluster.reachability import last_line
from brainseg.doctor.collect import labelled
from brainseg.doctor.diagnose import diagnose, verdict
from brainseg.doctor.machine import MachineFacts, facts_of
from tests.support.evidence import FINE, alone, cluster, notes, only_problem


def test_where_all_is_well_every_line_is_ok() -> None:
    second = replace(FINE, addresses=["10.0.0.2"])
    for evidence in (alone(FINE), cluster(FINE, second)):
        assert {finding.level for finding in diagnose(evidence)} == {"ok"}
        assert verdict(diagnose(evidence), evidence).startswith("no problem found on")


def test_problems_come_last_and_the_verdict_counts_them() -> None:
    evidence = alone(
        replace(FINE, torch_error="operator torchvision::nms does not exist", shm=64e6)
    )
    assert [finding.level for finding in diagnose(evidence)][-2:] == ["note", "problem"]
    assert (
        verdict(diagnose(evidence), evidence)
        == "1 problem(s) on this machine, named last; 1 note(s)"
    )


def test_a_fact_that_could_not_be_had_is_named() -> None:
    evidence = alone(replace(FINE, missing={"ports": "PermissionError: no"}))
    assert "ports (PermissionError: no)" in notes(evidence, "nodes")


def test_facts_of_another_brainseg_are_read_as_far_as_they_are_known() -> None:
    values = {"host": "a", "ports": [], "invented_later": 3}
    assert facts_of(values) == MachineFacts(host="a")


def test_many_nodes_are_counted_rather_than_listed() -> None:
    bare = replace(FINE, packages={**FINE.packages, "timm": ""})
    evidence = cluster(*[bare] * 7, FINE)
    assert only_problem(evidence).seen == "timm is not installed on a, b, c, d and 3 more"


def node(host: str, ip: str, id: str) -> Node:
    return Node(id=id, host=host, ip=ip, cpus=1, gpus=0, memory=1e9, is_head=False)


def test_nodes_have_the_shortest_labels_that_distinguish_them() -> None:
    nodes = [node("a", "1", "0" * 9), node("b", "2", "1" * 9), node("b", "3", "2" * 9)]
    assert list(labelled(nodes)) == ["a", "b 2", "b 3"]
    same = [node("a", "1", "0" * 9), node("a", "1", "1" * 9)]
    assert list(labelled(same)) == ["a 1 000000", "a 1 111111"]


def test_the_cause_of_an_error_elsewhere_is_its_last_line() -> None:
    assert last_line(RuntimeError("Traceback\n  File x\nValueError: too small\n")) == (
        "ValueError: too small"
    )
    assert last_line(TimeoutError()) == "TimeoutError"
