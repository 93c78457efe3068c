"""The machines of a Ray cluster, what each of them sees, and how a function runs on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from brainseg.cluster.placement import Room
from brainseg.cluster.reachability import last_line

LOST = (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError)
HEAD = "node:__internal_head__"  # a resource that Ray gives to the head alone


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living machine of the cluster, with what Ray counts on it, busy or not."""

    id: str
    host: str
    ip: str
    cpus: float
    gpus: float
    memory: float  # bytes
    is_head: bool

    @property
    def room(self) -> Room:
        return Room(cpus=self.cpus, gpus=self.gpus, memory=self.memory)


def living() -> list[Node]:
    """The nodes of the joined cluster, the head first."""
    nodes = [
        Node(
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
            ip=node["NodeManagerAddress"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=node["Resources"].get("memory", 0.0),
            is_head=HEAD in node["Resources"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: (not node.is_head, node.ip))


def on_each(
    work: Callable[..., Any],
    *arguments: Any,
    nodes: Sequence[Node] | None = None,
    timeout_seconds: float = 60.0,
) -> dict[Node, Any]:
    """Run a function once on every node, in parallel; a node's value is an error if it failed.

    It takes no CPU of the cluster, so it also runs where trials hold them all.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(work)
    refs = {
        node: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*arguments)
        for node in (living() if nodes is None else nodes)
    }
    ray.wait(list(refs.values()), num_returns=len(refs), timeout=timeout_seconds)
    return {node: _answer(ref, timeout_seconds) for node, ref in refs.items()}


def on_one(
    work: Callable[..., Any],
    *arguments: Any,
    resources: dict[str, float],
    timeout_seconds: float,
    **named: Any,
) -> Any:
    """What a function returns on whichever node has room for it.

    TimeoutError: no answer in time, room included.
    """
    task = ray.remote(num_cpus=resources.get("CPU", 0), num_gpus=resources.get("GPU", 0))(work)
    ref = task.remote(*arguments, **named)
    try:
        return ray.get(ref, timeout=timeout_seconds)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        raise TimeoutError(f"no answer within {timeout_seconds:g} s") from None


def _answer(ref: Any, timeout_seconds: float) -> Any:
    try:
        return ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        return TimeoutError(f"no answer within {timeout_seconds:g} s")
    except ray.exceptions.RayError as error:
        return error


def unseen_paths(paths: Sequence[Path], nodes: Sequence[Node]) -> list[str]:
    """A sentence for each node that does not see some of these paths, or cannot run brainseg.

    A node that was lost meanwhile is none of them: no trial will be sent there.
    """
    names = [str(path) for path in paths]
    problems = []
    for node, missing in on_each(_missing, names, nodes=nodes, timeout_seconds=20).items():
        if isinstance(missing, Exception):
            if isinstance(missing, LOST) or node.id not in {other.id for other in living()}:
                continue
            problems.append(f"{node.host} ({node.ip}) cannot run brainseg ({last_line(missing)})")
        elif missing:
            problems.append(f"{node.host} ({node.ip}) does not see {', '.join(missing)}")
    return problems


def _missing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]
