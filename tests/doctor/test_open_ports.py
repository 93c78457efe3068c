"""Ports of Ray's processes: named and sorted out as values, and found on this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from brainseg.doctor.open_ports import Port, ports_of, ray_ports

LISTEN = """
import socket
with socket.create_server(("{address}", 0)) as server:
    print(server.getsockname()[1], flush=True)
    input()
"""


def named(command: str, *sockets: tuple[str, int]) -> list[tuple[str, str, int]]:
    ports = ports_of(command.split(), sockets, token=False)
    return [(port.process, port.address, port.port) for port in ports]


@contextmanager
def listening(name: str, address: str = "0.0.0.0", *, token: bool = False) -> Iterator[int]:
    """A process of that name, which listens at an address; its port."""
    mode = {"RAY_AUTH_MODE": "token" if token else "disabled", "PYTHONHOME": sys.base_prefix}
    process = subprocess.Popen(
        [name, "-c", LISTEN.format(address=address)],
        executable=sys.executable,
        env=os.environ | mode,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate("\n")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("/venv/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", "head (GCS)"),
        ("/venv/ray/core/src/ray/raylet/raylet --agent=python dashboard/agent.py", "raylet"),
        ("ray::DashboardAgent", "dashboard agent"),
        ("ray::IDLE", "worker"),
    ],
)
def test_a_port_is_named_after_the_part_of_ray_that_holds_it(command: str, kind: str) -> None:
    assert named(command, ("192.0.2.2", 40000)) == [(kind, "192.0.2.2", 40000)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_port_on_loopback_is_not_open_to_other_machines(address: str) -> None:
    assert named("gcs_server", (address, 6379), ("::", 6380)) == [("head (GCS)", "::", 6380)]


def test_the_pages_of_the_dashboard_are_distinguished_from_its_metrics() -> None:
    command = "python ray/dashboard/dashboard.py --host=0.0.0.0 --port=8265"
    ports = named(command, ("0.0.0.0", 8265), ("0.0.0.0", 44227))
    assert [name for name, _, _ in ports] == ["dashboard", "metrics"]


def test_a_dashboard_that_had_to_take_the_next_port_is_still_one() -> None:
    command = "python ray/dashboard/dashboard.py --port=8265 --port-retries=50"
    assert named(command, ("0.0.0.0", 8267)) == [("dashboard", "0.0.0.0", 8267)]


def test_processes_of_this_machine_are_found_with_whether_they_ask_for_a_token() -> None:
    with listening("gcs_server", token=True) as head, listening("/a/raylet") as raylet:
        ports = {port.port: port for port in ray_ports()}
    assert ports[head] == Port(process="head (GCS)", address="0.0.0.0", port=head, token=True)
    assert ports[raylet] == Port(process="raylet", address="0.0.0.0", port=raylet, token=False)


def test_other_programs_loopback_and_sockets_that_do_not_listen_are_left_out() -> None:
    with (
        listening("sshd") as other,
        listening("raylet", "127.0.0.1") as loopback,
        listening("raylet") as raylet,
        socket.create_connection(("127.0.0.1", raylet)) as connection,
    ):
        ports = [port.port for port in ray_ports()]
        assert raylet in ports
        assert not {other, loopback, connection.getsockname()[1]} & {*ports}
