"""Ports of Ray's processes: read from a /proc that was written by hand, and from this machine's."""

import os
import socket
from pathlib import Path

import pytest

from brainseg.doctor.open_ports import ray_ports

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
ANY4, LOOPBACK4, OWN4 = "00000000", "0100007F", "020200C0"  # OWN4: 192.0.2.2
ANY6, LOOPBACK6 = "0" * 32, "0" * 24 + "01000000"
MAPPED_LOOPBACK = "0" * 16 + "FFFF0000" + "0100007F"


def line(address: str, port: int, inode: int, state: str = "0A") -> str:
    rest = f"00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0 100 0 0 10 0"
    return f"   0: {address}:{port:04X} 00000000:0000 {state} {rest}\n"


class Proc:
    """A /proc of made-up processes and sockets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sockets = 0
        for table in ("tcp", "tcp6"):
            root.joinpath("net").mkdir(exist_ok=True)
            root.joinpath("net", table).write_text(HEADER)

    def process(self, pid: int, command: str, *, token: bool = False) -> None:
        folder = self.root / str(pid)
        folder.joinpath("fd").mkdir(parents=True)
        folder.joinpath("cmdline").write_text(command.replace(" ", "\0"))
        folder.joinpath("environ").write_text("A=b\0" + "RAY_AUTH_MODE=token\0" * token)

    def listens(self, pid: int, address: str, port: int, state: str = "0A") -> None:
        self.sockets += 1
        inode = 1000 + self.sockets
        table = self.root / "net" / ("tcp6" if len(address) > 8 else "tcp")
        table.write_text(table.read_text() + line(address, port, inode, state))
        os.symlink(f"socket:[{inode}]", self.root / str(pid) / "fd" / str(self.sockets))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def found(proc: Proc) -> list[tuple[str, str, int]]:
    return [(port.process, port.address, port.port) for port in ray_ports(proc.root)]


def test_a_port_is_named_after_the_part_of_ray_that_holds_it(proc: Proc) -> None:
    proc.process(10, "/venv/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp")
    proc.process(11, "/venv/ray/core/src/ray/raylet/raylet --agent=python dashboard/agent.py")
    proc.process(12, "ray::DashboardAgent")
    proc.process(13, "ray::IDLE")
    proc.listens(10, ANY6, 6379)
    proc.listens(11, OWN4, 40000)
    proc.listens(12, ANY4, 52365)
    proc.listens(13, ANY4, 10002)
    assert found(proc) == [
        ("dashboard agent", "0.0.0.0", 52365),
        ("head (GCS)", "::", 6379),
        ("raylet", "192.0.2.2", 40000),
        ("worker", "0.0.0.0", 10002),
    ]


@pytest.mark.parametrize("address", [LOOPBACK4, LOOPBACK6, MAPPED_LOOPBACK])
def test_a_port_on_loopback_is_open_to_nobody_else(proc: Proc, address: str) -> None:
    proc.process(10, "gcs_server")
    proc.listens(10, address, 6379)
    assert not found(proc)


def test_only_sockets_that_listen_count(proc: Proc) -> None:
    proc.process(10, "gcs_server")
    proc.listens(10, ANY4, 6379, state="01")
    assert not found(proc)


def test_other_programs_are_left_alone(proc: Proc) -> None:
    proc.process(10, "/usr/sbin/sshd -D")
    proc.listens(10, ANY4, 22)
    assert not found(proc)


def test_the_pages_of_the_dashboard_are_told_from_its_metrics(proc: Proc) -> None:
    proc.process(10, "python ray/dashboard/dashboard.py --host=0.0.0.0 --port=8265")
    proc.listens(10, ANY4, 8265)
    proc.listens(10, ANY4, 44227)
    assert [name for name, _, _ in found(proc)] == ["dashboard", "metrics"]


def test_a_dashboard_that_had_to_take_the_next_port_is_still_one(proc: Proc) -> None:
    proc.process(10, "python ray/dashboard/dashboard.py --port=8265 --port-retries=50")
    proc.listens(10, ANY4, 8267)
    assert found(proc) == [("dashboard", "0.0.0.0", 8267)]


def test_a_token_is_told_by_the_environment_that_the_process_began_with(proc: Proc) -> None:
    proc.process(10, "gcs_server", token=True)
    proc.process(11, "raylet")
    proc.listens(10, ANY4, 6379)
    proc.listens(11, ANY4, 40000)
    assert {port.process: port.token for port in ray_ports(proc.root)} == {
        "head (GCS)": True,
        "raylet": False,
    }


def test_without_a_proc_nothing_is_found(tmp_path: Path) -> None:
    assert not ray_ports(tmp_path / "none")


def test_this_machines_own_table_is_read() -> None:
    with socket.create_server(("0.0.0.0", 0)):  # ours, but no part of Ray
        assert all(port.port > 0 for port in ray_ports())
