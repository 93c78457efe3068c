"""What must hold for `sbatch cluster/slurm.sh`: a job alone with its Ray, and its end passed on.

Slurm is stood in for by two scripts, srun (runs the command here) and scontrol (writes down what it
was asked); Ray is real. docs/slurm.md says how the file fared on a real Slurm.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm.sh"
TEXT = SCRIPT.read_text()
CODE = re.sub(r"(?m)^\s*#.*$", "", TEXT)
SWEEP = """
import os, signal, sys, time
import ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
resources = ray.cluster_resources()
cpus, gigabytes = int(resources["CPU"]), round(resources["memory"] / 1e9, 1)
print(f"{cpus} CPU, {gigabytes} GB, {os.environ['TMPDIR']}, {os.environ.get('OMP_NUM_THREADS')}")
sys.stdout.flush()
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
SLURM_NODEID=0 exec "$@"
"""
JOB = 1_000_000 + os.getpid()
SCRATCH = Path(f"/tmp/brainseg-{JOB}")
PORT = 20_000 + JOB % 2_000 * 5


def options() -> dict[str, str]:
    """Those of the #SBATCH lines."""
    return dict(re.findall(r"(?m)^#SBATCH --([\w-]+)=?(.*)$", TEXT))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_it_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    # SC2317: it does not see that srun calls on_each_node.
    subprocess.run(["shellcheck", "--exclude=SC2317", str(SCRIPT)], check=True)


def test_sbatch_reads_every_option_before_the_first_command() -> None:
    first_command = re.search(r"(?m)^[^#\n]", TEXT)
    assert first_command is not None
    assert "#SBATCH" not in TEXT[first_command.start() :]


def test_the_warning_reaches_the_script_alone_and_early_enough_for_an_epoch() -> None:
    """Without B: Slurm signals every process of the job's steps, Ray's own among them."""
    target, name, seconds = re.split("[:@]", options()["signal"])
    assert (target, name) == ("B", "USR1")
    assert int(seconds) >= 120
    assert "requeue" in options()
    assert options()["open-mode"] == "append"  # else a requeued job begins its log anew


def test_no_command_of_it_reaches_beyond_the_job() -> None:
    assert "ray stop" not in CODE
    assert "symmetric-run" not in CODE
    assert not re.search(r"\b(pkill|killall)\b", CODE)


def test_no_sweep_is_refused_before_ray_starts() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("name a sweep: sbatch cluster/slurm.sh sweeps/encoders.py")


@pytest.mark.parametrize("address", ["127.0.1.1", ""])
def test_an_address_that_no_other_node_reaches_is_refused(address: str) -> None:
    done = run(
        "sweeps/encoders.py",
        SLURM_JOB_NUM_NODES="2",
        SLURMD_NODENAME="no.such.host.invalid",
        HEAD=address,
    )
    assert done.returncode == 2
    assert f"needs an address that others reach, got '{address}'" in done.stderr


def test_the_longest_path_of_a_socket_fits() -> None:
    scratch = re.search(r"(?m)^scratch=(.+)$", CODE)
    assert scratch is not None
    folder = scratch[1].replace("$SLURM_JOB_ID", "9" * 10) + "/ray"
    longest = "/session_2026-11-25_14-56-39_497567_1234567/sockets/plasma_store"
    assert len(folder + longest) <= 107


@pytest.fixture
def job(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The script as Slurm runs it on one node, ended as Slurm ends it: TERM to all that is left."""
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$@" > {tmp_path}/asked\n')
    for command in ("srun", "scontrol"):
        (tmp_path / command).chmod(0o755)
    (tmp_path / "sweep.py").write_text(SWEEP)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
    environment = kept | {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(JOB),
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_MEM_PER_NODE": "2000",
        "HEAD": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    seconds = "120"
    started = subprocess.Popen(
        ["bash", str(SCRIPT), "sweep.py", seconds],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield started
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGTERM)
    deadline = time.monotonic() + 25  # Slurm kills after 30
    while SCRATCH.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    left = SCRATCH.exists()
    if left:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        shutil.rmtree(SCRATCH)
    assert not left, "the node did not remove its scratch in time"


@pytest.mark.cluster
def test_at_its_time_limit_a_job_ends_its_sweep_and_queues_again(
    job: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert job.stdout is not None
    assert "1 of 1 nodes are there\n" in iter(job.stdout.readline, "")
    assert f"1 CPU, 1.6 GB, {SCRATCH}, None\n" in iter(job.stdout.readline, "")
    assert SCRATCH.stat().st_mode & 0o777 == 0o700
    stranger = f"from ray._raylet import GcsClient; GcsClient('127.0.0.1:{PORT}')"
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    command = [sys.executable, "-c", f"{stranger}.get_all_node_info()"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "AuthenticationError: RPC error: InvalidAuthToken" in refused.stderr

    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 130
    assert (tmp_path / "asked").read_text() == f"requeue {JOB}\n"


@pytest.mark.cluster
def test_a_job_that_is_told_to_end_ends_and_does_not_queue_again(
    job: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert job.stdout is not None
    assert f"1 CPU, 1.6 GB, {SCRATCH}, None\n" in iter(job.stdout.readline, "")
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 130
    assert not (tmp_path / "asked").exists()
