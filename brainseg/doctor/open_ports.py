"""Which ports Ray's processes on this machine hold open to other machines, as /proc tells it."""

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LISTENING = "0A"  # a socket's state in /proc/net/tcp
PROGRAMS = {"gcs_server": "head (GCS)", "raylet": "raylet"}
TITLES = (  # what a process's command line holds, and what it is; the first that fits
    ("ray::DashboardAgent", "dashboard agent"),
    ("ray::RuntimeEnvAgent", "environment agent"),
    ("ray.util.client.server", "client server"),
    ("dashboard/dashboard.py", "dashboard"),
    ("/monitor.py", "metrics"),
    ("ray::", "worker"),
)


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that answers other machines, and whose it is."""

    process: str
    address: str  # 0.0.0.0 and :: are every address of the machine
    port: int
    token: bool  # its process asks whoever comes for a token


def ray_ports(proc: Path = Path("/proc")) -> list[Port]:
    """The open ports of Ray's processes, as far as this user may look; none without a /proc.

    A driver's own port is not among them: nothing tells it from any other Python.
    """
    sockets = _open_sockets(proc)
    found = []
    for process in proc.glob("[0-9]*"):
        try:
            command = process.joinpath("cmdline").read_bytes().decode(errors="replace")
            kind = _kind(command.split("\0"))
            if not kind:
                continue
            mine = [sockets[inode] for inode in _inodes(process) if inode in sockets]
            token = _asks_for_token(process)
        except OSError:
            continue  # it has ended, or is another user's
        for address, port in mine:
            own = "metrics" if kind == "dashboard" and not _serves(command, port) else kind
            found.append(Port(process=own, address=address, port=port, token=token))
    return sorted(found, key=lambda port: (port.process, port.port))


def _asks_for_token(process: Path) -> bool:
    """By its environment; a title of Ray's overwrites the start of it, then by its parent's."""
    environment = process.joinpath("environ").read_bytes()
    if b"RAY_AUTH_MODE=token" in environment.split(b"\0"):
        return True
    if not environment.startswith(b"\0"):
        return False
    parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
    return int(parent) > 1 and _asks_for_token(process.with_name(parent))


def _open_sockets(proc: Path) -> dict[str, tuple[str, int]]:
    """Address and port of every socket that listens beyond loopback, by its inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        path = proc / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *rest = line.split()
            address, port = local.split(":")
            ip = _address(address)
            if state == LISTENING and not ip.is_loopback:
                found[rest[5]] = (str(ip), int(port, 16))
    return found


def _address(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the kernel prints it: words of four bytes, the lowest byte first."""
    data = bytes.fromhex(digits)
    ip = ipaddress.ip_address(b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4)))
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _kind(words: list[str]) -> str:
    """What part of Ray a command line is, or nothing."""
    if kind := PROGRAMS.get(words[0].rpartition("/")[2]):
        return kind
    command = " ".join(words)
    return next((kind for title, kind in TITLES if title in command), "")


def _serves(command: str, port: int) -> bool:
    """Whether this is the port of the dashboard's pages; it has one for its own metrics as well."""
    base = re.search(r"--port=(\d+)", command)
    retries = re.search(r"--port-retries=(\d+)", command)
    if not base:
        return True
    first = int(base[1])
    return first <= port <= first + (int(retries[1]) if retries else 0)


def _inodes(process: Path) -> Iterator[str]:
    """The sockets that a process holds."""
    for descriptor in process.joinpath("fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]
