"""GPUs, disks, limits, names and clocks: each fault is named with its node and a remedy."""

from dataclasses import replace

import pytest

from brainseg.doctor.diagnose import diagnose
from tests.support.evidence import FINE, alone, cluster, notes, only_problem, problems


def test_a_driver_that_does_not_answer_is_a_problem() -> None:
    broken = replace(FINE, gpus=[], torch_gpus=[], gpu_error="NVIDIA-SMI has failed")
    assert "NVIDIA-SMI has failed" in only_problem(cluster(FINE, broken)).seen


def test_a_node_without_the_gpu_that_others_have_is_noted() -> None:
    head = replace(FINE, gpus=[], torch_gpus=[])
    assert "none on a, though other nodes have some" in notes(cluster(head, FINE, FINE), "GPUs")


def test_no_gpu_anywhere_is_a_note() -> None:
    evidence = alone(replace(FINE, gpus=[], torch_gpus=[]))
    assert "trials train on 8 CPUs" in notes(evidence, "GPUs")
    assert not problems(evidence)


def test_gpus_that_ray_does_not_count_are_noted() -> None:
    evidence = replace(cluster(FINE), counted_gpus={"a": 0.0})
    assert "Ray counts 0 GPU(s) of the 1 on a" in notes(evidence, "GPUs")


def test_a_node_that_cannot_run_brainseg_is_a_problem() -> None:
    evidence = replace(
        cluster(FINE), failed={"b": "ModuleNotFoundError: No module named 'brainseg'"}
    )
    assert "b cannot run brainseg: ModuleNotFoundError" in only_problem(evidence).seen


@pytest.mark.parametrize(("free", "level"), [(0.2e9, "problem"), (5e9, "note"), (50e9, "ok")])
def test_a_disk_is_fine_tight_or_full(free: float, level: str) -> None:
    findings = diagnose(alone(replace(FINE, cache_free=free)))
    assert [finding.level for finding in findings if finding.topic == "disk"] == [level]


def test_small_shared_memory_is_a_problem_where_gpus_talk_through_it() -> None:
    assert not problems(alone(replace(FINE, shm=64e6)))
    two = replace(FINE, shm=64e6, gpus=FINE.gpus * 2, torch_gpus=FINE.torch_gpus * 2)
    assert "--shm-size" in only_problem(alone(two)).remedy


def test_few_open_files_and_one_thread_are_noted() -> None:
    evidence = cluster(replace(FINE, open_files=1024, omp_threads="1"))
    assert "1024 files" in notes(evidence, "limits")
    assert "OMP_NUM_THREADS is 1 on a" in notes(evidence, "limits")


def test_between_nodes_a_name_on_loopback_is_a_problem() -> None:
    debian = replace(FINE, addresses=["127.0.1.1"])
    assert (
        "the host name of b resolves to a loopback address"
        in only_problem(cluster(FINE, debian)).seen
    )
    assert not problems(cluster(FINE, replace(debian, gloo_interface="eth0")))
    assert not problems(cluster(debian))
    two_on_one_machine = replace(cluster(debian, debian), ips={"a": "10.0.0.1", "b": "10.0.0.1"})
    assert not problems(two_on_one_machine)


@pytest.mark.parametrize(("ahead", "level"), [(0.5, "ok"), (-20.0, "note"), (300.0, "problem")])
def test_a_clock_may_be_off_by_a_little(ahead: float, level: str) -> None:
    findings = diagnose(replace(cluster(FINE), clocks={"a": ahead}))
    assert [finding.level for finding in findings if finding.topic == "clocks"] == [level] * (
        level != "ok"
    )
