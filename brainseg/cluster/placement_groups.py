"""Placement groups: what trials ask of the cluster and hold there, and how it is given back."""

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
def room_requested(request: Placement) -> Iterator[None]:
    """Ask the cluster for room for a placement's trials, as its autoscaler understands it.

    The demand ends with the block, and with this process if it is killed.
    """
    bundles = [request.resources] * request.workers
    groups = [placement_group(bundles) for _ in range(request.concurrent)]
    try:
        yield
    finally:
        for group in groups:
            remove_placement_group(group)


def own_job() -> dict[str, str]:
    """Ids of this driver's job and of its cluster, which no other cluster ever has."""
    session = cluster.own_node().session_name
    return {"job": ray.get_runtime_context().get_job_id(), "cluster": session}


class PlacementGroups:
    """The placement groups of a driver's trials: workers that they wait for, or hold.

    A group's id ends with its job's. Groups that the job had before the sweep are not the sweep's.
    """

    def __init__(self, job: str = "", not_ours: Collection[str] = ()) -> None:
        self.job, self.not_ours = job or own_job()["job"], not_ours

    def _groups(self) -> dict[str, dict[str, Any]]:
        """The sweep's groups that were not removed, by id."""
        return {
            key: group
            for key, group in placement_group_table().items()
            if key.endswith(self.job) and key not in self.not_ours and group["state"] != "REMOVED"
        }

    def ids(self) -> frozenset[str]:
        return frozenset(self._groups())

    def unmet(self, placement: Placement) -> int:
        """How many trials wait for the cluster to give them their workers."""
        return sum(
            group["state"] in UNMET and _is_for(group, placement)
            for group in self._groups().values()
        )

    def release_met(self, placement: Placement) -> None:
        """Give back the workers that the cluster has given."""
        for key, group in self._groups().items():
            if group["state"] not in UNMET and _is_for(group, placement):
                _remove(key)

    def release(self) -> int:
        """Give back everything; return how many groups that were."""
        groups = self._groups()
        for key in groups:
            _remove(key)
        return len(groups)

    def release_for_good(self) -> None:
        """Give back everything as the driver leaves a cluster.

        A controller of Ray Train outlives its trial by some seconds and asks again for what it
        lost; what it asks for as the driver leaves is held for ever (Ray 2.60). So this returns
        once nothing was asked for during SETTLED_SECONDS, or after LONGEST_SECONDS.
        """
        start = quiet_since = time.monotonic()
        until = start + LONGEST_SECONDS
        while (now := time.monotonic()) < min(quiet_since + SETTLED_SECONDS, until):
            if self.release():
                quiet_since = now
            time.sleep(0.2)


def _is_for(group: dict[str, Any], placement: Placement) -> bool:
    return list(group["bundles"].values()) == [placement.resources] * placement.workers


def _remove(key: str) -> None:
    remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(key)))
