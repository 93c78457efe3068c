"""Placement groups that no trial uses: found, and given back to the cluster."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import PlacementGroupID
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from brainseg.cluster import session as cluster
from brainseg.cluster.placement import Placement

SETTLED_SECONDS = 3.0
LONGEST_SECONDS = 30.0
UNMET = ("PENDING", "RESCHEDULING")  # states of a placement group


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
