"""Which ports Ray's processes on this machine hold open to other machines."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAMS = {"gcs_server": "head (GCS)", "raylet": "raylet"}
TITLES = (  # a part of a process's command line, and what the process is; the first match counts
    ("ray::DashboardAgent", "dashboard agent"),
    ("ray::RuntimeEnvAgent", "environment agent"),
    ("ray.util.client.server", "client server"),
    ("dashboard/dashboard.py", "dashboard"),
    ("/monitor.py", "metrics"),
    ("ray::", "worker"),
)

Socket = tuple[str, int]  # an address of this machine, a port


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that answers other machines, and the process that holds it."""

    process: str
    address: str  # 0.0.0.0 and :: are every address of the machine
    port: int
    token: bool  # its process asks every caller for a token


def ray_ports() -> list[Port]:
    """The open ports of Ray's processes, as far as this user may look.

    A driver's own port is missing: nothing distinguishes it from any other Python.
    """
    ports: list[Port] = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"]  # None: it has ended, or is another user's
        if not command or not kind_of(command):
            continue
        try:
            sockets = _listening(process)
            ports += ports_of(command, sockets, token=_asks_for_token(process))
        except (OSError, psutil.Error):
            continue  # it has ended, or is another user's
    return sorted(ports, key=lambda port: (port.process, port.port))


def kind_of(command: Sequence[str]) -> str:
    """Which part of Ray a command line is; "" if none."""
    if kind := PROGRAMS.get(command[0].rpartition("/")[2]):
        return kind
    line = " ".join(command)
    return next((kind for title, kind in TITLES if title in line), "")


def ports_of(command: Sequence[str], sockets: Iterable[Socket], *, token: bool) -> list[Port]:
    """The ports of a process of Ray that other machines reach."""
    ports = []
    for address, port in sockets:
        ip = ipaddress.ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if not ip.is_loopback:
            kind = kind_of(command)
            if kind == "dashboard" and not _serves(" ".join(command), port):
                kind = "metrics"
            ports.append(Port(process=kind, address=str(ip), port=port, token=token))
    return ports


def _serves(command: str, port: int) -> bool:
    """Whether this is the port of the dashboard's pages; it has one for its own metrics as well."""
    base = re.search(r"--port=(\d+)", command)
    retries = re.search(r"--port-retries=(\d+)", command)
    if not base:
        return True
    first = int(base[1])
    return first <= port <= first + (int(retries[1]) if retries else 0)


def _listening(process: psutil.Process) -> list[Socket]:
    connections = process.net_connections("tcp")
    return [(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]


def _asks_for_token(process: psutil.Process) -> bool:
    """By its environment, or its parent's where Ray's process title overwrote the start of it.

    Not by psutil, to which an environment that was overwritten is an empty one.
    """
    path = Path(f"/proc/{process.pid}/environ")
    if not path.exists():
        return process.environ().get("RAY_AUTH_MODE") == "token"
    environment = path.read_bytes()
    if b"RAY_AUTH_MODE=token" in environment.split(b"\0"):
        return True
    parent = process.parent() if environment.startswith(b"\0") else None
    return parent is not None and parent.pid > 1 and _asks_for_token(parent)
