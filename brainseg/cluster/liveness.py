"""Whether the Ray of a sweep still lives: its own processes here, its head, this machine's node."""

import socket

import ray

from brainseg.cluster.session import own_node

NEEDED = {"raylet": "its raylet", "gcs_server": "its GCS"}  # processes of Ray that it cannot miss
ANSWER_SECONDS = 5.0


def process_gone() -> str:
    """Which process of a Ray that this program started died, in words; "" if none did.

    It costs nothing. Any question to a Ray without its GCS is answered after a minute: by the end
    of this process.
    """
    if not ray.is_initialized():
        return "it was shut down"
    died = (kind for kind, _ in own_node().dead_processes() if kind in NEEDED)
    return next((f"{NEEDED[kind]} died" for kind in died), "")


def why_gone() -> str:
    """Why Ray has ended, in words; "" if it lives."""
    if why := process_gone():
        return why
    head = str(own_node().gcs_address)
    host, _, port = head.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        return f"its head at {head} does not answer ({error})"
    own = ray.get_runtime_context().get_node_id()
    alive = {entry["NodeID"] for entry in ray.nodes() if entry["Alive"]}
    return "" if own in alive else "its node on this machine died"
