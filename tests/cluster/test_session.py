"""Which Ray a sweep runs on: one of its own unless a cluster is named, and that one must answer."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import pytest

from brainseg.cluster import reachability
from brainseg.cluster.reachability import LOCAL, cluster_address, require_reachable
from brainseg.data.phantom import write_phantoms
from brainseg.records.run import Run
from tests.support.raylets import raylets
from tests.support.sweeps import ENCODERS


@pytest.mark.parametrize(
    ("given", "environment", "address"),
    [
        (None, "", LOCAL),
        (None, "auto", "auto"),
        (None, "head:6379", "head:6379"),
        ("auto", "", "auto"),
        ("auto", "head:6379", "head:6379"),
        ("other:1", "head:6379", "other:1"),
        ("local", "head:6379", LOCAL),
    ],
)
def test_a_sweep_has_a_ray_of_its_own_unless_a_cluster_is_named(
    given: str | None, environment: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", environment)
    assert cluster_address(given) == address


@contextmanager
def silent() -> Iterator[str]:
    """The address of a host that drops what it gets: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_host_that_drops_packets_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "CONNECT_SECONDS", 0.5)
    begin = monotonic()
    with silent() as address, pytest.raises(ValueError, match=f"nothing answers at {address} "):
        require_reachable(address)
    assert monotonic() - begin < 5


def test_the_longest_wait_for_a_cluster_is_below_a_minute() -> None:
    assert reachability.CONNECT_SECONDS + reachability.JOIN_SECONDS < 60


SMALL = ["--epochs=40", "--image-size=32", "--set=model=plain", "--set=model.plain.width=4"]
SMALL += ["--set=batch_size=4", "--wandb=off", "--trials=1", "--weights=none", "--name=s"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one, for sockets."""
    with TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.mark.cluster
def test_a_ray_that_nobody_named_is_neither_joined_nor_missed(folder: Path, tmp_path: Path) -> None:
    patients = write_phantoms(tmp_path / "p", patients=6, slices=6, size=48)
    words = [f"--data={patients}", f"--storage={tmp_path}", *SMALL]
    command = [sys.executable, "-u", str(ENCODERS), *words]
    (folder / "ray").symlink_to("r")  # where the stray one of ``raylets`` leaves its address
    env = {**os.environ, "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled"}
    with raylets(folder, cpus=1) as stray:
        last_started = folder / "ray" / "ray_current_cluster"
        while not last_started.exists():
            sleep(0.1)
        address = last_started.read_text()
        assert address.endswith(stray.address.removeprefix("127.0.0.1"))
        theirs = (folder / "ray" / "session_latest").readlink().name
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        assert driver.stdout
        next(line for line in driver.stdout if "epoch 2/" in line)
    said, _ = driver.communicate(timeout=300)  # the stray one has ended
    assert driver.returncode == 0, said
    (begins, _) = Run(tmp_path / "s").drivers()
    assert begins["cluster"].endswith(f"_{driver.pid}") and begins["cluster"] != theirs
    # Its address is still there, and what is named must answer.
    done = subprocess.run([*command, "--address=auto"], env=env, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"brainseg: nothing answers at {address} "), done.stderr
