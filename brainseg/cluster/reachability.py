"""Why something failed in another process, in one line."""

import os
import socket
import subprocess
import sys


def brief(error: Exception) -> str:
    """The last line of an error that came from another process: the cause."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


DOOR_SECONDS = 5.0
JOIN_SECONDS = 60.0
LONGEST = 300  # characters of what Ray says
REASONS = {  # what its output holds, and what that means
    "Unauthenticated": "it asks for a token; export RAY_AUTH_MODE=token here, and copy its "
    "~/.ray/auth_token to this machine",
    "no authentication token was found": "RAY_AUTH_MODE is token here, but there is no token; copy "
    "the cluster's ~/.ray/auth_token to this machine",
    "Version mismatch": "{said}; use the same Python and Ray here and there",
    "Could not find any running Ray": "no Ray runs on this machine; begin with `ray start --head`, "
    "give HOST:PORT of another, or no address to use this machine alone",
}


def require_reachable(address: str) -> None:
    """Join the cluster at ``address``, "auto" or host:port, and leave it again.

    ValueError: it cannot be joined, with Ray's own reason if it gave one.
    """
    if address != "auto":
        _require_open_door(address)
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
            f"a cluster must answer within {JOIN_SECONDS:g} s, {address} took the connection and "
            "did not; the port must be that of Ray's head, 6379 unless `ray start --head --port` "
            "said otherwise, not the dashboard's"
        ) from None
    if done.returncode:
        why = _reason(done.stdout or done.stderr, done.stdout + done.stderr)
        raise ValueError(f"a cluster must let this machine join, {address} does not: {why}")


def _require_open_door(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ValueError(
            f"a cluster's address is auto, on a machine of it, or HOST:PORT, got {address!r}; the "
            "port is 6379 unless `ray start --head --port` said otherwise; in place of a Ray "
            "Client's ray:// use `ray submit` or `ray job submit`"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), DOOR_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"nothing answers at {address} ({error}); start the cluster, correct the address, or "
            "leave it out to use this machine alone"
        ) from None


def _reason(said: str, log: str) -> str:
    """Why it failed: in our words where the log tells, else in Ray's, shortened."""
    text = " ".join(said.split()) or "no reason was given"
    text = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
    meaning = next((meaning for sign, meaning in REASONS.items() if sign in log), "{said}")
    return meaning.format(said=text)


def _join(address: str) -> None:
    """In the process of its own: status 1 and the reason if it fails."""
    from brainseg.cluster.session import joined

    try:
        with joined(address):
            pass
    except Exception as error:  # Ray raises a dozen kinds
        print(error)
        raise SystemExit(1) from None


if __name__ == "__main__":
    _join(sys.argv[1])
