"""The machines of a Ray cluster: those that are there, those that may come, and what each sees."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import PlacementGroupID
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from brainseg.cluster import session as cluster
from brainseg.cluster.placement import Placement, Room
from brainseg.cluster.reachability import brief

SETTLED_SECONDS = 3.0
LONGEST_SECONDS = 30.0
UNMET = ("PENDING", "RESCHEDULING")  # states of a placement group
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
    found = [
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
    return sorted(found, key=lambda node: (not node.is_head, node.ip))


def on_each(
    work: Callable[..., Any],
    *arguments: Any,
    nodes: Sequence[Node] | None = None,
    timeout_seconds: float = 60.0,
) -> dict[Node, Any]:
    """Run a function once on every node, side by side; a node's value is an error if it failed.

    It takes no CPU of the cluster, so it runs where trials hold them all.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(work)
    begun = {
        node: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*arguments)
        for node in (living() if nodes is None else nodes)
    }
    ray.wait(list(begun.values()), num_returns=len(begun), timeout=timeout_seconds)
    return {node: _answer(ref, timeout_seconds) for node, ref in begun.items()}


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


def autoscaling(nodes: Sequence[Node]) -> dict[str, Any]:
    """The config of the cluster's autoscaler, as the file says that the head was started with.

    Empty where there is none, and on Kubernetes, whose autoscaler keeps its limits to itself.
    """
    heads = [node for node in nodes if node.is_head]
    address = ray.get_runtime_context().gcs_address
    found = on_each(_autoscaling_config, address, nodes=heads, timeout_seconds=15)
    config = next(iter(found.values()), None)
    return config if isinstance(config, dict) else {}


def _autoscaling_config(gcs_address: str) -> dict[str, Any] | None:
    """What the autoscaler of the cluster at an address was started with, on this machine."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue  # it has ended, or is another user's
        if f"--gcs-address={gcs_address}" not in words:
            continue
        for word in words:
            if word.startswith("--autoscaling-config="):
                path = Path(word.partition("=")[2]).expanduser()
                return dict(yaml.safe_load(path.read_text())) if path.is_file() else None
    return None


def unseen(paths: Sequence[Path], nodes: Sequence[Node]) -> list[str]:
    """In words: which nodes do not see which of these paths, or cannot run brainseg at all."""
    names = [str(path) for path in paths]
    found = on_each(_missing, names, nodes=nodes, timeout_seconds=20)
    said = []
    for node, missing in found.items():
        if isinstance(missing, Exception):
            said.append(f"{node.host} ({node.ip}) cannot run brainseg ({brief(missing)})")
        elif missing:
            said.append(f"{node.host} ({node.ip}) does not see {', '.join(missing)}")
    return said


def _missing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]


@contextmanager
def demanded(wish: Placement) -> Iterator[None]:
    """Ask the cluster for room for a placement's trials, as its autoscaler understands it.

    The demand ends with the block, and with this process if it is killed.
    """
    bundles = [wish.resources] * wish.workers
    groups = [placement_group(bundles) for _ in range(wish.concurrent)]
    try:
        yield
    finally:
        for group in groups:
            remove_placement_group(group)


def own_job() -> dict[str, str]:
    """What names this driver in its cluster, and this cluster among all that ever were."""
    session = cluster.own_node().session_name
    return {"job": ray.get_runtime_context().get_job_id(), "cluster": session}


class Demands:
    """What a driver's trials ask of its cluster, and hold there: its placement groups.

    A group's id ends with its job's. What the job had before the sweep is not the sweep's.
    """

    def __init__(self, job: str = "", spare: Collection[str] = ()) -> None:
        self.job, self.spare = job or own_job()["job"], spare

    def _groups(self) -> dict[str, dict[str, Any]]:
        """The sweep's groups that are not gone, by id."""
        return {
            key: group
            for key, group in placement_group_table().items()
            if key.endswith(self.job) and key not in self.spare and group["state"] != "REMOVED"
        }

    def before(self) -> frozenset[str]:
        return frozenset(self._groups())

    def unmet(self, placement: Placement) -> int:
        """How many trials' workers the cluster owes."""
        return sum(
            group["state"] in UNMET and _is_for(group, placement)
            for group in self._groups().values()
        )

    def release_met(self, placement: Placement) -> None:
        """Give back the workers that there are."""
        for key, group in self._groups().items():
            if group["state"] not in UNMET and _is_for(group, placement):
                _remove(key)

    def release(self) -> int:
        """Give back everything; say how many groups that were."""
        groups = self._groups()
        for key in groups:
            _remove(key)
        return len(groups)

    def release_for_good(self) -> None:
        """Give back everything as the driver leaves a cluster.

        A controller of Ray Train that outlives its trial by some seconds asks again for what it
        lost, and what it asks for as the driver leaves is held for ever (Ray 2.60). So this ends
        once nothing was asked for during SETTLED_SECONDS, or after LONGEST_SECONDS.
        """
        begun = quiet_since = time.monotonic()
        until = begun + LONGEST_SECONDS
        while (now := time.monotonic()) < min(quiet_since + SETTLED_SECONDS, until):
            if self.release():
                quiet_since = now
            time.sleep(0.2)


def _is_for(group: dict[str, Any], placement: Placement) -> bool:
    return list(group["bundles"].values()) == [placement.resources] * placement.workers


def _remove(key: str) -> None:
    remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(key)))


def may_come(config: dict[str, Any], nodes: Sequence[Node]) -> list[Room]:
    """Room on nodes that an autoscaler of this ``config`` may add to ``nodes``, GPUs first.

    A living node is taken for one of the first type with its CPUs and GPUs.
    """
    rooms: list[Room] = []
    workers = [node for node in nodes if not node.is_head]
    left = Counter((node.cpus, node.gpus) for node in workers)
    for name, kind in config.get("available_node_types", {}).items():
        resources = kind.get("resources") or {}
        cpus, gpus = float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
        if name == config.get("head_node_type") or not (cpus or gpus):
            continue
        most = int(kind.get("max_workers", config.get("max_workers", 0)))
        there = min(left[cpus, gpus], most)
        left[cpus, gpus] -= there
        memory = float(resources.get("memory", 0))
        rooms += [Room(cpus=cpus, gpus=gpus, memory=memory)] * (most - there)
    rooms.sort(key=lambda room: -room.gpus)
    return rooms[: max(int(config.get("max_workers", len(rooms))) - len(workers), 0)]
