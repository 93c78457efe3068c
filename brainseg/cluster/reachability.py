"""Whether a cluster can be joined, and if not, why: in one sentence, with what to do."""

import os
import socket
import subprocess
import sys

LOCAL = "local"  # no cluster's address: a Ray of this program's own
CONNECT_SECONDS = 5.0
JOIN_SECONDS = 50.0
LONGEST = 300  # characters of Ray's message that are shown
REASONS = {  # a part of Ray's output, and what it means
    "Unauthenticated": "it asks for a token; export RAY_AUTH_MODE=token here, and copy its "
    "~/.ray/auth_token to this machine",
    "no authentication token was found": "RAY_AUTH_MODE is token here, but there is no token; copy "
    "the cluster's ~/.ray/auth_token to this machine",
    "Version mismatch": "{message}; use the same Python and Ray on both machines",
}


def cluster_address(given: str | None) -> str:
    """The cluster that counts: the one given, else the one in $RAY_ADDRESS, else LOCAL."""
    if not given or given == "auto":
        return os.environ.get("RAY_ADDRESS") or given or LOCAL
    return given


def require_reachable(address: str) -> None:
    """Join the cluster at ``address``, "auto" or host:port, and leave it again.

    ValueError: it cannot be joined, with Ray's own reason if it gave one.
    """
    if address == "auto":
        from brainseg.cluster.session import answering_to_auto

        address = answering_to_auto()
    _require_open_port(address)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "brainseg.cluster.reachability", address],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=JOIN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"a cluster must answer within {JOIN_SECONDS:g} s, {address} accepted the connection "
            "but did not answer; use the port of Ray's head (6379 unless `ray start --head --port` "
            "set another), not the dashboard's"
        ) from None
    if done.returncode:
        why = _reason(done.stdout or done.stderr, done.stdout + done.stderr)
        raise ValueError(f"a cluster must let this machine join, {address} does not: {why}")


def _require_open_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ValueError(
            "a cluster's address must be HOST:PORT, or auto on one of its machines, got "
            f"{address!r}; the port is 6379 unless `ray start --head --port` set another; instead "
            "of a Ray Client's ray:// use `ray submit` or `ray job submit`"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"nothing answers at {address} ({error}); start the cluster, correct the address, or "
            "leave it out to use this machine alone"
        ) from None


def _reason(message: str, output: str) -> str:
    """Why it failed: from REASONS if the output is known, else Ray's message, shortened."""
    meaning = next((meaning for sign, meaning in REASONS.items() if sign in output), "{message}")
    return meaning.format(message=shortened(message))


def shortened(message: str) -> str:
    """A message of Ray's on one line, without its end if it is long."""
    text = " ".join(message.split()) or "no reason was given"
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def last_line(error: Exception) -> str:
    """The last line of an error that came from another process: the cause."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _join(address: str) -> None:
    """Run in a process of its own: prints the reason and exits with status 1 if it fails."""
    from brainseg.cluster.session import joined

    try:
        with joined(address):
            pass
    except Exception as error:  # Ray raises a dozen kinds
        print(error)
        raise SystemExit(1) from None


if __name__ == "__main__":
    _join(sys.argv[1])
