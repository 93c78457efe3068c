"""From evidence to findings: each fault is named with its node and a remedy."""

from dataclasses import replace

import pytest

from brainseg.cluster.nodes import Node
from brainseg.cluster.reachability import last_line
from brainseg.doctor.collect import DRIVER, Evidence, Tracker, labelled
from brainseg.doctor.diagnose import diagnose, verdict
from brainseg.doctor.findings import Finding
from brainseg.doctor.machine import PACKAGES, MachineFacts, facts_of
from brainseg.doctor.open_ports import Port

FINE = MachineFacts(
    host="a",
    python="3.11.7",
    packages={**dict.fromkeys(PACKAGES, "1.0"), "torch": "2.14.1"},
    code="ab12",
    albumentations=["albumentations 2.0.8"],
    cuda_build="13.0",
    torch_gpus=["NVIDIA L4"],
    gpus=["NVIDIA L4, 23034 MiB"],
    gpu_driver="580.65.06",
    cpus=8,
    cache="/cache",
    cache_free=500e9,
    shm=8e9,
    open_files=65536,
    addresses=["10.0.0.1"],
    hub="https://huggingface.co",
    hub_reachable=True,
)
ONLINE = Tracker(key=True, server="https://api.wandb.ai", reachable=True)


def cluster(*nodes: MachineFacts) -> Evidence:
    """Nodes a, b, ... at addresses of their own; the driver is as the first of the fine ones."""
    labels = "abcdefgh"[: len(nodes)]
    return Evidence(
        driver=FINE,
        nodes=dict(zip(labels, nodes, strict=True)),
        tracker=ONLINE,
        cluster="10.0.0.1:6379",
        ips={label: f"10.0.0.{at + 1}" for at, label in enumerate(labels)},
        counted_gpus={k: float(len(n.gpus)) for k, n in zip(labels, nodes, strict=True)},
        storage="/shared",
    )


def alone(facts: MachineFacts) -> Evidence:
    return Evidence(driver=facts, nodes={"a": facts}, tracker=ONLINE)


def problems(evidence: Evidence) -> list[Finding]:
    return [finding for finding in diagnose(evidence) if finding.level == "problem"]


def only_problem(evidence: Evidence) -> Finding:
    (finding,) = problems(evidence)
    assert finding.remedy
    return finding


def notes(evidence: Evidence, topic: str) -> str:
    findings = [
        finding
        for finding in diagnose(evidence)
        if (finding.level, finding.topic) == ("note", topic)
    ]
    return " ".join(f"{finding.seen} {finding.remedy}" for finding in findings)


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


def test_a_node_with_another_torch_is_named() -> None:
    other = replace(FINE, packages={**FINE.packages, "torch": "2.13.0"})
    problem = only_problem(cluster(FINE, FINE, other))
    assert problem.seen == "torch differs: 2.14.1 on a, b, the driver; 2.13.0 on c"


def test_what_only_the_driver_uses_may_differ_with_a_note() -> None:
    other = replace(FINE, packages={**FINE.packages, "wandb": "0.1", "optuna": ""})
    evidence = cluster(FINE, other)
    assert not problems(evidence)
    assert "wandb differs" in notes(evidence, "versions")


def test_a_package_that_is_missing_is_a_problem() -> None:
    bare = replace(FINE, packages={**FINE.packages, "timm": ""})
    assert only_problem(cluster(FINE, bare)).seen == "timm is not installed on b"
    assert only_problem(alone(bare)).seen == "timm is not installed on this machine"


@pytest.mark.parametrize(("python", "level"), [("3.12.1", "problem"), ("3.11.9", "note")])
def test_another_python_is_a_problem_another_patch_of_it_a_note(python: str, level: str) -> None:
    findings = diagnose(cluster(FINE, replace(FINE, python=python)))
    assert [finding.level for finding in findings if "Python differs" in finding.seen] == [level]


def test_a_node_with_other_files_of_brainseg_is_seen() -> None:
    assert only_problem(cluster(FINE, replace(FINE, code="cd34"))).seen == (
        "its files differ, by hash: ab12 on a, the driver; cd34 on b"
    )


@pytest.mark.parametrize(
    "provided",
    [["albumentationsx 2.0.9"], ["albumentations 2.0.8", "albumentationsx 2.0.9"]],
)
def test_the_agpl_distribution_under_the_name_of_the_mit_one_is_a_problem(
    provided: list[str],
) -> None:
    problem = only_problem(cluster(FINE, replace(FINE, albumentations=provided)))
    assert "albumentationsx 2.0.9 on b" in problem.seen
    assert "AGPL" in problem.seen
    assert "pip install albumentations==2.0.8" in problem.remedy


def test_an_albumentations_of_another_version_is_a_note() -> None:
    evidence = alone(replace(FINE, albumentations=["albumentations 2.0.7"]))
    assert "the last under MIT" in notes(evidence, "licence")


def test_a_torch_for_cpus_where_there_are_gpus_is_a_problem() -> None:
    problem = only_problem(cluster(FINE, replace(FINE, cuda_build="", torch_gpus=[])))
    assert problem.seen == "torch on b is built for CPUs only: its 1 GPU(s) are not used"


def test_a_driver_too_old_for_torchs_cuda_is_a_problem() -> None:
    problem = only_problem(alone(replace(FINE, torch_gpus=[], gpu_driver="535.1")))
    assert "built for CUDA 13.0, the driver is 535.1" in problem.seen
    assert "580 or newer" in problem.remedy


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


def test_a_node_that_does_not_see_the_storage_is_named() -> None:
    evidence = replace(
        cluster(FINE, FINE), unshared={"b": "does not see what the driver wrote there"}
    )
    problem = only_problem(evidence)
    assert problem.seen == "/shared: b does not see what the driver wrote there"
    assert "mount the same folder" in problem.remedy


def test_a_driver_that_cannot_write_is_named() -> None:
    evidence = replace(
        cluster(FINE), unshared={DRIVER: "cannot write there (Read-only file system)"}
    )
    assert only_problem(evidence).seen.startswith("/shared: the driver cannot write there")


def test_in_a_cluster_a_storage_that_was_not_named_is_asked_for() -> None:
    assert "--storage FOLDER" in notes(replace(cluster(FINE, FINE), storage=""), "storage")
    assert not notes(replace(cluster(FINE), storage=""), "storage")


def test_data_must_be_on_every_node_and_the_same() -> None:
    evidence = replace(cluster(FINE, FINE), data="/data", counts={"a": (7, ""), "b": (6, "")})
    assert only_problem(evidence).seen == "/data differs: 7 files on a; 6 files on b"
    evidence = replace(evidence, counts={"a": (7, ""), "b": (0, "there is no such folder")})
    assert only_problem(evidence).seen == "/data cannot be read on b: there is no such folder"


def test_without_a_key_or_a_server_wandb_is_a_note_with_what_to_do_later() -> None:
    for tracker in (replace(ONLINE, key=False), replace(ONLINE, reachable=False)):
        assert "wandb sync" in notes(replace(alone(FINE), tracker=tracker), "W&B")


def test_a_hub_out_of_reach_is_a_note_with_how_to_fetch_weights() -> None:
    for cut_off in (replace(FINE, hub_reachable=False), replace(FINE, hub_offline=True)):
        assert "brainseg weights fetch" in notes(
            cluster(FINE, replace(cut_off, hub_reachable=False)), "hub"
        )


def port(process: str, *, token: bool) -> Port:
    return Port(process=process, address="0.0.0.0", port=6379, token=token)


def test_an_open_port_without_a_token_is_a_problem() -> None:
    problem = only_problem(cluster(FINE, replace(FINE, ports=[port("head (GCS)", token=False)])))
    assert problem.seen == (
        "Ray on b runs code, as its user, for anybody who reaches head (GCS) 6379"
    )
    assert "RAY_AUTH_MODE=token" in problem.remedy


def test_with_a_token_it_is_a_note() -> None:
    evidence = alone(replace(FINE, ports=[port("raylet", token=True)]))
    assert not problems(evidence)
    assert "it asks for a token" in notes(evidence, "ports")


def test_a_dashboard_open_without_a_token_is_a_problem_of_its_own() -> None:
    evidence = alone(replace(FINE, ports=[port("dashboard", token=False)]))
    assert [problem.topic for problem in problems(evidence)] == ["ports", "dashboard"]
    assert not problems(alone(replace(FINE, ports=[port("dashboard", token=True)])))


def test_nodes_that_disagree_about_tokens_are_noted() -> None:
    bare = replace(FINE, ports=[port("raylet", token=False)])
    guarded = replace(FINE, ports=[port("raylet", token=True)])
    assert "the same RAY_AUTH_MODE" in notes(cluster(bare, guarded), "ports")


def test_ports_of_metrics_run_no_code() -> None:
    assert not problems(alone(replace(FINE, ports=[port("metrics", token=False)])))


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
