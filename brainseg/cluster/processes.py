"""The processes behind an actor, wherever they run, and how they are ended for certain.

Ray asks a process to end. One that is stopped, or that hangs in a call of the kernel, does not
hear it; SIGKILL, sent on its own machine, reaches it.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import actors

from brainseg.cluster.nodes import living, on_each

TASK_SECONDS = 30.0  # for a node to start a task


@dataclass(frozen=True)
class ActorProcess:
    """A living process of the cluster that runs an actor."""

    node: str  # Ray's id of its machine
    pid: int
    kind: str  # the actor's class


def processes_of(actor: Any) -> list[ActorProcess]:
    """The process of ``actor`` and of all actors that it started, and these in turn; its own last.

    An actor that waits for room has none yet. A detached one is left out: it outlives who started
    it, as Ray Train's cleaner does, which gives back the room of workers that are gone.
    """
    started_by: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    table = actors(actor_state_name="ALIVE")
    for row in table.values():
        if row["IsDetached"]:
            continue
        started_by.setdefault(_process(row["OwnerAddress"]), []).append(row)
    pending = [row for key, row in table.items() if key == actor._actor_id.hex()]
    processes: list[ActorProcess] = []
    while pending:
        row = pending.pop(0)
        address = row["Address"]
        processes.insert(0, ActorProcess(address["NodeID"], row["Pid"], row["ActorClassName"]))
        pending += started_by.get(_process(address), [])
    return processes


def end_processes(actor: Any) -> None:
    """End an actor and all that it started, also where they are stopped or hang."""
    by_node: dict[str, list[int]] = {}
    for process in processes_of(actor):
        by_node.setdefault(process.node, []).append(process.pid)
    nodes = [node for node in living() if node.id in by_node]
    on_each(_kill, by_node, nodes=nodes, timeout_seconds=TASK_SECONDS)
    ray.kill(actor)  # what the kernel cannot end yet is at least dead to Ray


def _kill(by_node: Mapping[str, Sequence[int]]) -> None:
    """Runs on each node: ends the processes there."""
    for pid in by_node[ray.get_runtime_context().get_node_id()]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _process(address: Mapping[str, Any]) -> tuple[str, int]:
    return address["IPAddress"], address["Port"]
