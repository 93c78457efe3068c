"""Several hosts on one machine: each its own name, address, processes, /tmp, home and real sshd.

A host is a set of Linux namespaces that live as long as one process of them, which reads a pipe
of ours: close it, or die, and all the host ran is gone with its interfaces. Hosts meet on a bridge
in a namespace of its own, so the machine's own network is not touched.

Hosts share `/mnt/brainseg`, as machines share a file server. Each has a virtual environment at
`~/venv` that borrows the packages of the Python running here, which it can read and not change.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SSHD = "/usr/sbin/sshd"
TOOLS = (SSHD, "ssh", "ssh-keygen", "rsync", "tmux", "ip", "ps", "unshare", "nsenter")
HOME = "/mnt/home"  # below /mnt, which each host has to itself; /root may hold the interpreter
SHARED = "/mnt/brainseg"
SPACES = ("--net", "--pid", "--mount", "--uts", "--ipc")
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# PID 1 of a host adopts what daemons leave behind; ignoring SIGCHLD has the kernel bury the dead.
HOLD = ("env", "--ignore-signal=CHLD", "cat")


def why_not() -> str:
    """What keeps this machine from holding hosts, in words, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts in namespaces need Linux and root"
    if lacking := [tool for tool in TOOLS if not shutil.which(tool, path=SEARCHED)]:
        packages = "openssh-server rsync tmux iproute2 procps"
        return f"hosts in namespaces need {', '.join(lacking)}: apt-get install {packages}"
    tried = subprocess.run(
        ["unshare", *SPACES, "--fork", "--mount-proc", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        text=True,
    )
    return f"namespaces are not permitted here: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Host:
    """A running host; ``folder`` holds its home, its configuration and sshd's log."""

    name: str
    address: str
    folder: Path
    holder: "subprocess.Popen[bytes]"
    pid: int  # of its first process, as this machine counts

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Begin a bash command in the host, in its home, with an environment of its own."""
        user = {"HOME": HOME, "USER": "root", "SHELL": "/bin/bash", "LANG": "C.UTF-8"}
        words = [f"{name}={value}" for name, value in {**user, "PATH": SEARCHED}.items()]
        enter = ["nsenter", "--target", str(self.pid), *SPACES]
        return subprocess.Popen(
            [*enter, "env", "-i", *words, "bash", "-c", f"cd && {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def run(self, command: str, *, timeout: float = 120) -> tuple[int, str]:
        """Exit status and output of a bash command; ``timeout`` in seconds."""
        process = self.start(command)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.kill()  # what it began in the host ends with the host
            message = f"{self.name}: {command}: {timeout:g} s passed; {error.output}"
            raise AssertionError(message) from error
        return process.returncode, output

    def processes(self) -> list[str]:
        """Command lines of all that runs in the host."""
        status, output = self.run("ps -eo args=")
        assert status == 0, output
        return output.splitlines()


@dataclass
class Network:
    """Hosts on one bridge; the first knows the names of those that come later."""

    folder: Path
    names: Sequence[str]
    switch: "subprocess.Popen[bytes]"
    hosts: dict[str, Host] = field(default_factory=dict)

    def address(self, name: str) -> str:
        return f"10.77.0.{10 + self.names.index(name)}"

    def host(self, name: str) -> Host:
        """Boot one of the hosts named, with sshd listening on its port 22."""
        folder = self.folder / name
        (folder / "home").mkdir(parents=True)
        self._write_configuration(folder, name)
        pid, holder = _hold(*SPACES, "--mount-proc", script=self._boot(folder, name))
        host = self.hosts[name] = Host(name, self.address(name), folder, holder, pid)
        self._plug(host)
        _make_venv(host)
        status, output = host.run(f"{SSHD} -f {folder}/sshd_config -E {folder}/sshd.log")
        assert status == 0, output
        return host

    def close(self) -> None:
        holders = [*(host.holder for host in self.hosts.values()), self.switch]
        for holder in holders:
            holder.stdin.close()  # type: ignore[union-attr]
        for holder in holders:
            holder.wait(timeout=30)

    def _write_configuration(self, folder: Path, name: str) -> None:
        names = [f"{self.address(other)} {other}" for other in self.names]
        _write(folder / "hosts", "127.0.0.1 localhost", *names)
        _write(folder / "passwd", f"root:x:0:0::{HOME}:/bin/bash", *_accounts("/etc/passwd"))
        _write(folder / "shadow", "root:*:19000::::::", *_accounts("/etc/shadow"))
        if (bashrc := Path("/etc/skel/.bashrc")).exists():
            shutil.copy(bashrc, folder / "home")
        ssh = folder / "home" / ".ssh"
        ssh.mkdir(mode=0o700)
        shutil.copy(self.folder / "user.pub", ssh / "authorized_keys")
        _write(
            folder / "sshd_config",
            f"HostKey {self.folder}/host",
            f"ListenAddress {self.address(name)}:22",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
        )

    def _boot(self, folder: Path, name: str) -> str:
        """What the first process of a host does before it holds it."""
        # What the host must still see may lie below a folder that it gets for itself.
        visible = sorted({Path(sys.base_prefix), Path(sys.prefix), self.folder})
        stash = [f"/mnt/seen/{number}" for number in range(len(visible))]
        lines = ["set -e", f"hostname {name}", "mount -t tmpfs -o mode=755 none /mnt"]
        for kept, path in zip(stash, visible, strict=True):
            lines += [f"mkdir -p {kept}", f"mount --rbind {shlex.quote(str(path))} {kept}"]
        for place, mode in (("/tmp", 1777), ("/run", 755), ("/dev/shm", 1777)):
            lines.append(f"mount -t tmpfs -o mode={mode} none {place}")
        for kept, path in zip(stash, visible, strict=True):
            target = shlex.quote(str(path))
            lines += [f"mkdir -p {target}", f"mount --rbind {kept} {target}"]
            if path != self.folder:
                lines.append(f"mount -o remount,bind,ro {target}")
        lines.append(f"mkdir -p /run/sshd {HOME} {SHARED}")
        for source, target in ((folder / "home", HOME), (self.folder / "shared", SHARED)):
            lines.append(f"mount --bind {shlex.quote(str(source))} {target}")
        for file in ("hosts", "passwd", "shadow"):
            lines.append(f"mount --bind {shlex.quote(str(folder / file))} /etc/{file}")
        return "; ".join([*lines, "ip link set lo up"])

    def _plug(self, host: Host) -> None:
        """A cable from the bridge to the host's eth0."""
        port = f"port{len(self.hosts)}"
        in_switch = ["nsenter", "--target", str(self.switch.pid), "--net"]
        add = f"link add {port} type veth peer name eth0 netns {host.pid}"
        for words in (add, f"link set {port} master bridge up"):
            subprocess.run([*in_switch, "ip", *words.split()], check=True)
        status, output = host.run(
            f"ip address add {host.address}/24 dev eth0; ip link set eth0 up; "
            f"ip route add default dev eth0"
        )
        assert status == 0, output


@contextmanager
def network(folder: Path, names: Sequence[str]) -> Iterator[Network]:
    """A bridge for hosts of these names, none booted yet; ``folder`` keeps what they write."""
    (folder / "shared").mkdir()
    for key in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", folder / key]
        subprocess.run(make, check=True)
    _, switch = _hold("--net", script="ip link add bridge type bridge; ip link set bridge up")
    net = Network(folder, names, switch)
    try:
        yield net
    finally:
        net.close()


def _hold(*spaces: str, script: str) -> tuple[int, "subprocess.Popen[bytes]"]:
    """New namespaces, held by a process that ends when the pipe to it does, and its number."""
    forked = "--pid" in spaces
    fork = ["--fork", "--kill-child"] if forked else []
    ready = f"{script}; echo ready; exec {shlex.join(HOLD)}"
    holder = subprocess.Popen(
        ["unshare", *spaces, *fork, "sh", "-ec", ready],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    if holder.stdout.readline() != b"ready\n":
        raise RuntimeError(f"no namespaces: {script!r} ended with {holder.wait()}")
    if not forked:
        return holder.pid, holder
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text()
    return int(children.split()[0]), holder


def _make_venv(host: Host) -> None:
    """`~/venv` with this Python's packages and a pip that installs offline what it is given."""
    status, output = host.run(f"{sys.base_prefix}/bin/python3 -m venv --without-pip venv")
    assert status == 0, output
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = host.home / "venv" / "lib" / version / "site-packages"
    _write(packages / "borrowed.pth", f"{sys.prefix}/lib/{version}/site-packages")
    for name, module, function in (
        ("pip", "pip._internal.cli.main", "main"),
        ("ray", "ray.scripts.scripts", "main"),
    ):
        script = host.home / "venv" / "bin" / name
        load = f"import sys; from {module} import {function}; sys.exit({function}())"
        _write(script, f"#!{HOME}/venv/bin/python", load)
        script.chmod(0o755)
    settings = host.home / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True)
    # pip reads `no-build-isolation = false` as: without build isolation.
    _write(settings, "[global]", "no-index = true", "[install]", "no-build-isolation = false")


def _accounts(file: str) -> list[str]:
    """All but root's: sshd drops its rights to an account of its own."""
    return [line for line in Path(file).read_text().splitlines() if line.split(":")[0] != "root"]


def _write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")
