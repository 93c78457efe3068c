"""A node that is lost while the machines are looked at is not held against the sweep."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.raylets import raylets

LOOK = """
import os, signal, sys, time
from pathlib import Path
import ray
from brainseg.cluster.nodes import living, unseen_paths

ray.init(log_to_driver=False, logging_level="CRITICAL")
while len(nodes := living()) < 2:
    time.sleep(0.5)
print("seen", unseen_paths([Path("/"), Path("/no/such/folder")], nodes))
os.kill(int(sys.argv[1]), signal.SIGKILL)  # its raylet ends with it
while len(living()) > 1:
    time.sleep(0.5)
print("seen", unseen_paths([Path("/")], nodes))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one, for sockets."""
    with TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.mark.cluster
def test_a_node_that_was_lost_meanwhile_is_no_machine_that_sees_too_little(folder: Path) -> None:
    with raylets(folder, cpus=1) as cluster:
        node = cluster.join(cpus=1)
        done = subprocess.run(
            [sys.executable, "-c", LOOK, str(node.pid)],
            env={**os.environ, "RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    both, lost = (line for line in done.stdout.splitlines() if line.startswith("seen"))
    assert both.count("does not see /no/such/folder") == 2
    assert lost == "seen []"
