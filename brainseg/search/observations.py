"""What past trials show the search: configurations, epochs and scores as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

from brainseg.config.distributions import Value
from brainseg.records.run import Run, TrialRecord
from brainseg.search.halving import standing


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A trial that was begun: what was tried, and what came of it so far."""

    params: Mapping[str, Value]  # the point; further paths, as a whole config has, do no harm
    epochs: int  # planned
    best: tuple[float, ...] = ()  # score after each finished epoch, finite; see rungs.standing
    seconds: float = 0.0  # of one epoch; 0: not known yet
    running: bool = False


def shown(run: Run, record: TrialRecord) -> Seen:
    """What a trial has shown so far, as its records tell."""
    rows = run.trial(record.trial).rows()
    return Seen(
        params=record.params,
        epochs=int(record.params["epochs"]),
        best=standing([row["dice"] for row in rows]),
        seconds=rows[-1]["seconds"] if rows else 0.0,
        running=record.state == "running",
    )
