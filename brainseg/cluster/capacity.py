"""How many trials may run at once, as machines join a cluster, leave it, or never come."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainseg.cluster.autoscaler import rooms_to_add
from brainseg.cluster.nodes import Node, living, unseen_paths
from brainseg.cluster.placement import NoRoom, Placement, Room, capacity
from brainseg.process import Log

LOOK_SECONDS = 5.0  # between two looks at the cluster
LOG_SECONDS = 60.0  # between two messages about the same shortage


def rooms_of(nodes: Sequence[Node], config: dict[str, Any]) -> list[Room]:
    """What there is, and what an autoscaler may add to it."""
    return [node.room for node in nodes] + rooms_to_add(config, nodes)


def wait_for_room(
    place: Callable[[Sequence[Room]], Placement],
    rooms: Callable[[], Sequence[Room]],
    request: AbstractContextManager[None],
    *,
    wait_minutes: float,
    log: Log,
) -> Placement:
    """``place`` in the machines of a cluster; where not one trial fits, wait for more.

    Args:
        place: says what fits into some machines, or raises NoRoom.
        rooms: of the machines that there are now.
        request: a context in which an autoscaler is asked for more, see ``room_requested``.
        wait_minutes: for machines to join; 0: not at all.

    Raises:
        ValueError: no machine joined that holds a trial; says what is short.
    """
    try:
        return place(rooms())
    except NoRoom as short:
        if not wait_minutes:
            raise
        log(f"{short}; waiting up to {wait_minutes:g} min for machines to join")
    until = time.monotonic() + 60 * wait_minutes
    with request:
        while True:
            time.sleep(1)
            try:
                return place(rooms())
            except NoRoom as short:
                if time.monotonic() > until:
                    raise ValueError(
                        f"{short}; no machine that fits joined within {wait_minutes:g} min"
                    ) from None


def problems_of(paths: Sequence[Path], nodes: Sequence[Node]) -> str:
    """Why trials would fail on some of these machines; "" if they would not."""
    blind = unseen_paths(paths, nodes) if nodes else []
    if not blind:
        return ""
    return (
        "every machine of the cluster must see the results and the data: "
        + "; ".join(blind)
        + "; name a shared folder with --storage, mount it, or remove the machine (details: "
        "brainseg doctor --cluster)"
    )


@dataclass
class ClusterCapacity:
    """How many trials may run at once, looked up every few seconds while a sweep runs."""

    placement: Placement
    most: int  # never more than these
    # The user set --concurrent, and the autoscaler's limits are unknown: assume it can reach them.
    unbounded: bool
    shared: bool  # other programs use the cluster too
    must_see: Sequence[Path]  # what every machine must see: the run's folder, the data
    log: Log
    config: dict[str, Any] = field(default_factory=dict)  # of the autoscaler
    problem: str = ""  # why trials would fail on a machine that joined
    _nodes: dict[str, Node] = field(default_factory=dict)
    _looked: float = -LOOK_SECONDS
    _slots: int = 0

    def slots(self) -> int:
        """Trials that fit into the machines that are there or may join; at least one.

        Where none fits, that one waits, and the autoscaler learns from it what is needed.
        """
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self.update(living())
            self._looked = time.monotonic()
        return self._slots

    def update(self, living: Sequence[Node]) -> None:
        """Take note of the nodes that live now."""
        nodes = {node.id: node for node in living}
        fits = capacity(rooms_of(list(nodes.values()), self.config), self.placement)
        self._slots = self.most if self.unbounded else max(1, min(self.most, fits))
        new = [node for key, node in nodes.items() if key not in self._nodes]
        if self.shared and not self.problem:
            self.problem = problems_of(self.must_see, new)
        if self._nodes and nodes.keys() != self._nodes.keys():
            self._log_changes(new, [n for key, n in self._nodes.items() if key not in nodes])
        self._nodes = nodes

    def _log_changes(self, new: list[Node], gone: list[Node]) -> None:
        for word, changed in (("joined", new), ("left", gone)):
            for node in changed:
                self.log(f"{word}: {node.host} ({node.ip}) with {node.room}")
        self.log(f"there is room for {self._slots} trials at once")

    def shortage(self) -> str:
        """Why no trial runs now, as far as the machines show."""
        there = ", ".join(f"{node.host} {node.room}" for node in self._nodes.values()) or "none"
        fits = capacity([node.room for node in self._nodes.values()], self.placement)
        cause = "other programs use what it needs" if fits else "no machine has that much"
        may_join = self.config and not fits
        more = f", and the autoscaler may add room for {self._slots} trials" if may_join else ""
        return f"a trial needs {self.placement.needs}; the machines are {there}{more}: {cause}"
