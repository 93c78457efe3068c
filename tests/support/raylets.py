"""A Ray cluster of several raylets on this machine, as `ray start` begins them, for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from ray.util import get_node_ip_address

MEMORY = 8_000_000_000  # that each node says it has, whatever else runs here
RAY = str(Path(sys.executable).with_name("ray"))
# Nodes of the autoscaler's own test provider: real raylets, begun where a trial waits for room.
FAKE_CLOUD = {
    "cluster_name": "raylets",
    "upscaling_speed": 100,
    "idle_timeout_minutes": 5,
    "head_node_type": "ray.head.default",
    "auth": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    **{
        f"{part}_commands": []
        for part in (
            "initialization",
            "setup",
            "head_setup",
            "worker_setup",
            "head_start_ray",
            "worker_start_ray",
        )
    },
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Raylets:
    """A head, and the nodes that join it; all end with the block that began them."""

    address: str
    folder: Path
    _stack: ExitStack

    def join(self, *, cpus: int) -> subprocess.Popen[bytes]:
        """Another node, which returns at once and is there some seconds later."""
        return self._stack.enter_context(
            _started(
                self.folder, f"--address={self.address}", f"--num-cpus={cpus}", f"--memory={MEMORY}"
            )
        )


@contextmanager
def raylets(folder: Path, *, cpus: int, may_come: int = 0) -> Iterator[Raylets]:
    """A head with so many CPUs, and an autoscaler that may add so many nodes of one CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    words, port = [f"--num-cpus={cpus}", f"--memory={MEMORY}"], free_port()
    if may_come:
        kinds = {
            "ray.head.default": {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0},
            "small": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": may_come},
        }
        provider = {
            "type": "fake_multinode",
            "gcs_address": f"{get_node_ip_address()}:{port}",
            "disable_node_updaters": True,  # they would restart by ssh what no ssh had started
        }
        config = {
            **FAKE_CLOUD,
            "provider": provider,
            "max_workers": may_come,
            "available_node_types": kinds,
        }
        (folder / "cloud.yaml").write_text(yaml.safe_dump(config))
        words.append(f"--autoscaling-config={folder / 'cloud.yaml'}")
    with ExitStack() as stack:
        head = [f"--port={port}", f"--dashboard-port={free_port()}", "--include-dashboard=true"]
        stack.enter_context(_started(folder, "--head", *head, *words))
        _wait_for(port)
        try:
            yield Raylets(f"127.0.0.1:{port}", folder, stack)
        except BaseException:
            _tell(folder)
            raise


def _tell(folder: Path) -> None:
    """Print the last that the head's daemons said: a failed test shows it beside its own words."""
    logs = folder / "r" / "session_latest" / "logs"
    for log in (folder / "ray.log", *sorted(logs.glob("monitor.*")), logs / "raylet.out"):
        if log.exists():
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log.name}", *lines[-60:], sep="\n")


@contextmanager
def _started(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    env |= {"RAY_AUTH_MODE": "disabled"}
    temporary = ["--temp-dir", str(folder / "r")] * ("--head" in words)
    log = (folder / "ray.log").open("a")
    process = subprocess.Popen(
        [RAY, "start", *words, *temporary, "--disable-usage-stats", "--block"],
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(120):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"no head at port {port} after a minute")
