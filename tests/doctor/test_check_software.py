"""Python, packages and torch must agree between nodes; a fault is named with node and remedy."""

from dataclasses import replace

import pytest

from brainseg.doctor.diagnose import diagnose
from tests.support.evidence import FINE, alone, cluster, notes, only_problem, problems


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
