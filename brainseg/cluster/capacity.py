"""How many trials may run at once, as machines join a cluster, leave it, or never come."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainseg.cluster.autoscaler import may_come
from brainseg.cluster.nodes import Node, living, unseen
from brainseg.cluster.placement import NoRoom, Placement, Room, capacity
from brainseg.cluster.placement_groups import demanded

Say = Callable[[str], None]
LOOK_SECONDS = 5.0  # between two looks at the cluster
SAY_SECONDS = 60.0  # between two sentences about the same shortage


def rooms_of(nodes: Sequence[Node], config: dict[str, Any]) -> list[Room]:
    """What there is, and what an autoscaler may add to it."""
    return [node.room for node in nodes] + may_come(config, nodes)


def placed(
    place: Callable[[Sequence[Room]], Placement],
    wish: Placement,
    config: dict[str, Any],
    *,
    wait_minutes: float,
    say: Say,
) -> Placement:
    """``place`` in the machines of the joined cluster; wait for more where not one trial fits.

    Args:
        place: says what fits into some machines, or raises NoRoom.
        wish: what to ask an autoscaler for meanwhile.
        config: of the autoscaler.
        wait_minutes: for machines to come; 0: not at all.

    Raises:
        ValueError: no machine came that holds a trial; says what is short.
    """
    try:
        return place(rooms_of(living(), config))
    except NoRoom as short:
        if not wait_minutes:
            raise
        say(f"{short}; waiting up to {wait_minutes:g} min for machines to join")
    until = time.monotonic() + 60 * wait_minutes
    with demanded(wish):
        while True:
            time.sleep(1)
            try:
                return place(rooms_of(living(), config))
            except NoRoom as short:
                if time.monotonic() > until:
                    raise ValueError(f"{short}; none came within {wait_minutes:g} min") from None


def faults(paths: Sequence[Path], nodes: Sequence[Node]) -> str:
    """Why trials would fail on some of these machines, or nothing."""
    found = unseen(paths, nodes) if nodes else []
    if not found:
        return ""
    return (
        "every machine of the cluster must see the results and the data: "
        + "; ".join(found)
        + "; name a shared folder with --storage, mount it, or take the machine out "
        "(brainseg doctor --cluster says more)"
    )


@dataclass
class Vacancies:
    """The trials that may run at once, looked up every few seconds while a sweep runs."""

    placement: Placement
    most: int  # never more than these
    grows: bool  # `most` was asked for, and an autoscaler whose limits are not known may bring it
    shared: bool  # others keep the cluster
    seen: Sequence[Path]  # what every machine must see: the run's folder, the data
    say: Say
    config: dict[str, Any] = field(default_factory=dict)  # of the autoscaler
    fault: str = ""  # why trials would fail on a machine that joined
    _nodes: dict[str, Node] = field(default_factory=dict)
    _looked: float = -LOOK_SECONDS
    _at_once: int = 0

    def at_once(self) -> int:
        """Trials that fit into the machines that there are and that may come; one at the least.

        Where none fits, that one waits, and is what an autoscaler hears of.
        """
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._look()
            self._looked = time.monotonic()
        return self._at_once

    def _look(self) -> None:
        nodes = {node.id: node for node in living()}
        fits = capacity(rooms_of(list(nodes.values()), self.config), self.placement)
        self._at_once = self.most if self.grows else max(1, min(self.most, fits))
        new = [node for key, node in nodes.items() if key not in self._nodes]
        if self.shared and not self.fault:
            self.fault = faults(self.seen, new)
        if self._nodes and nodes.keys() != self._nodes.keys():
            self._say_changes(new, [n for key, n in self._nodes.items() if key not in nodes])
        self._nodes = nodes

    def _say_changes(self, new: list[Node], gone: list[Node]) -> None:
        for word, changed in (("joined", new), ("gone", gone)):
            for node in changed:
                self.say(f"{word}: {node.host} ({node.ip}) with {node.room}")
        self.say(f"there is room for {self._at_once} trials at once")

    def shortage(self) -> str:
        """Why no trial runs now, as far as the machines tell."""
        there = ", ".join(f"{node.host} {node.room}" for node in self._nodes.values()) or "none"
        fits = capacity([node.room for node in self._nodes.values()], self.placement)
        cause = "others hold what it needs" if fits else "none of the machines has that much"
        may = f", up to {self.at_once()} trials' worth may come" if self.config and not fits else ""
        return f"a trial needs {self.placement.needs}; there are {there}{may}: {cause}"
