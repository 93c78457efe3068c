"""`brainseg doctor` on this machine and on clusters of Ray's own processes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from brainseg.cli.main import main
from brainseg.cluster import reachability
from brainseg.doctor import machine
from brainseg.doctor.machine import collect, counted, facts_of, reachable

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
KEY = "a" * 40
COMMAND = [sys.executable, "-c", "from brainseg.cli.main import main; main()", "doctor"]


def doctor(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The verb in a process of its own, with servers that refuse at once."""
    servers = {"WANDB_BASE_URL": NOWHERE, "HF_ENDPOINT": NOWHERE, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *words],
        cwd="/",  # Ray gives the folder of a driver to its workers, as one to import from
        env={**os.environ, "COLUMNS": "100", **servers, **(env or {})},
        capture_output=True,
        text=True,
        timeout=180,
    )


def written(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def problems(path: Path) -> list[dict[str, str]]:
    return [one for one in written(path)["findings"] if one["level"] == "problem"]


def test_this_machine_is_looked_at_without_a_ray(tmp_path: Path) -> None:
    file, runs = tmp_path / "evidence.json", tmp_path / "runs"
    done = doctor("--storage", str(runs), "--json", str(file), env={"WANDB_API_KEY": KEY})
    assert done.returncode == (1 if problems(file) else 0), done.stderr
    verdict, *lines = done.stdout.splitlines()
    assert "on this machine" in verdict
    assert f"ok       storage    {runs}: written and read" in lines
    assert all(line.split()[0] in ("ok", "note", "problem") for line in lines)
    assert "Traceback" not in done.stderr
    assert not runs.exists()
    assert KEY not in done.stdout + done.stderr + file.read_text()
    (node,) = written(file)["seen"]["nodes"].values()
    assert not node["missing"]


def in_process(*words: str) -> int:
    """The command's exit status, here: what it says is captured."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_fault_of_the_storage_or_the_data_is_a_problem_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(machine, "TORCH_SECONDS", 0.01)  # torch is not waited for
    tmp_path.joinpath("file").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null")
    words = ["--storage", str(tmp_path / "file"), "--data", str(tmp_path / "none")]
    assert in_process(*words) == 1
    output = capsys.readouterr().out
    assert "/dev/null/ray: got Not a directory -> free space there, or set RAY_TMPDIR" in output
    assert "the driver cannot write there (Not a directory)" in output
    assert "none cannot be read on this machine: there is no such folder" in output


def test_packages_that_are_broken_are_said_not_raised(tmp_path: Path) -> None:
    for name in ("torch", "wandb"):
        tmp_path.joinpath(f"{name}.py").write_text(f"raise ImportError('{name} is broken')")
    done = doctor(env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert done.returncode == 1
    assert "torch or torchvision fails on this machine: ImportError: torch is broken" in done.stdout
    assert "the wandb package cannot be used (ImportError: wandb is broken)" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json", "no/such/folder/x.json"], "--json must name a file in a folder that exists"),
        (["--storage", "s3://bucket/runs"], "--storage is a folder, got an address"),
        (
            ["--cluster", "gpu-head"],
            "a cluster's address must be HOST:PORT, or auto on one of its",
        ),
        (["--cluster", "ray://gpu-head:10001"], "a cluster's address must be HOST:PORT"),
        (["--cluster", "127.0.0.1:9"], "nothing answers at 127.0.0.1:9"),
        (["--cluster", "no-host.invalid:6379"], "nothing answers at no-host.invalid:6379"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert in_process(*words) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert said in last


def test_a_port_that_is_no_rays_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "JOIN_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match="accepted the connection but did not answer"):
            reachability.require_reachable(address)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("gcs_client.cc: Unauthenticated: InvalidAuthToken", "export RAY_AUTH_MODE=token here"),
        ("Version mismatch: Ray: 2.1", "Version mismatch: Ray: 2.1; use the same Python and Ray"),
        ("something else\n happened", "something else happened"),
        ("", "no reason was given"),
    ],
)
def test_rays_reasons_come_with_what_to_do(log: str, said: str) -> None:
    assert said in reachability._reason(log, log)


def test_a_fact_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TORCH_SECONDS", 0.01)
    facts = facts_of(collect(""))
    assert set(facts.missing) == {"torch"}
    assert facts.packages["ray"]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the driver's tool, first on the path; torch is not waited for."""
    monkeypatch.setattr(machine, "TORCH_SECONDS", 0.01)
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.touch(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tool


def test_gpus_are_those_that_the_driver_knows(nvidia_smi: Path) -> None:
    rows = "580.65.06, NVIDIA L4, 23034 MiB\n" * 2
    nvidia_smi.write_text(f"#!/bin/sh\nprintf '{rows}'\n")
    facts = facts_of(collect(""))
    assert (facts.gpu_driver, facts.gpus) == ("580.65.06", ["NVIDIA L4, 23034 MiB"] * 2)


def test_a_driver_that_fails_is_quoted(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    facts = facts_of(collect(""))
    assert (facts.gpus, facts.gpu_error) == ([], "NVIDIA-SMI has failed")


def test_another_distribution_of_the_same_import_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "albumentationsx-2.0.9.dist-info"
    folder.mkdir()
    folder.joinpath("METADATA").write_text("Name: albumentationsx\nVersion: 2.0.9\n")
    folder.joinpath("top_level.txt").write_text("albumentations\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(machine, "TORCH_SECONDS", 0.01)
    assert "albumentationsx 2.0.9" in facts_of(collect("")).albumentations


def test_files_are_counted_where_they_lie(tmp_path: Path) -> None:
    assert counted(str(tmp_path)) == (0, "the folder is empty")
    tmp_path.joinpath("a").mkdir()
    for name in ("a/1.png", "2.png", ".hidden"):
        tmp_path.joinpath(name).write_text("x")
    assert counted(str(tmp_path)) == (2, "")
    assert counted(f"file://{tmp_path}") == (2, "")
    assert counted(str(tmp_path / "none")) == (0, "there is no such folder")
    assert "nothing is there" in counted(f"file://{tmp_path}/none")[1]


def test_a_server_that_refuses_does_not_answer() -> None:
    assert not reachable(NOWHERE)
    assert not reachable("no address")


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head, and a node that runs another copy of brainseg, with one file more."""
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "brainseg", other / "brainseg")
    other.joinpath("brainseg", "more.py").write_text("")
    here = {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": NOWHERE}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "env_vars": {**here}})
    cluster.add_node(
        num_cpus=0, env_vars={**here, "PYTHONPATH": str(other), "OMP_NUM_THREADS": "1"}
    )
    yield cluster.address
    cluster.shutdown()


@pytest.mark.cluster
def test_every_node_of_a_cluster_is_looked_at(two_nodes: str, tmp_path: Path) -> None:
    file, runs = tmp_path / "evidence.json", tmp_path / "runs"
    words = ["--cluster", two_nodes, "--storage", str(runs), "--data", str(ROOT / "tests")]
    done = doctor(*words, "--json", str(file))
    assert done.returncode == 1, done.stderr
    assert f"on the cluster at {two_nodes}, 2 node(s)" in done.stdout.splitlines()[0]
    assert f"{runs}: written and read by all 2 nodes" in done.stdout
    assert "ok       data" in done.stdout
    assert "problem  brainseg   its files differ, by hash" in done.stdout
    seen = written(file)["seen"]
    assert len(seen["nodes"]) == 2
    assert not seen["failed"]
    assert sorted(seen["clocks"].values()) == [0.0, 0.0]
    assert [node["omp_threads"] for node in seen["nodes"].values()] == ["", "1"]
    for node in seen["nodes"].values():
        assert {port["process"] for port in node["ports"]} >= {"raylet", "head (GCS)"}
    assert not runs.exists()


@pytest.mark.cluster
def test_a_node_that_does_not_see_the_storage_is_told(two_nodes: str, tmp_path: Path) -> None:
    """A node with a mount of its own over the storage's path, as root alone may have it."""
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("needs root, to give a process mounts of its own")
    runs = tmp_path / "runs"
    runs.mkdir()
    ray = (
        f"{sys.executable} -m ray.scripts.scripts start --address={two_nodes} --num-cpus=0 --block"
    )
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {runs} && exec {ray}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": NOWHERE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert node.stdout
        assert any("Ray runtime started" in line for line in node.stdout)
        done = doctor("--cluster", two_nodes, "--storage", str(runs))
        assert "3 node(s)" in done.stdout
        assert "does not see what the driver wrote there" in done.stdout
        assert done.returncode == 1
        assert not list(runs.iterdir())
    finally:
        node.terminate()
        node.communicate(timeout=30)
