"""What past trials show the search: configurations, epochs and scores as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brainseg.config.distributions import Value
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.halving import smoothed_best


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A trial that was started: what was tried, and its scores so far."""

    params: Mapping[str, Value]  # the point; paths that are not searched may be among them
    epochs: int  # planned
    best: tuple[
        float, ...
    ] = ()  # score after each finished epoch, finite; see halving.smoothed_best
    seconds: float = 0.0  # of one epoch; 0: not known yet
    running: bool = False


def observation_of(run: Run, record: TrialRecord) -> Observation:
    """What a trial has shown so far, according to its records."""
    return observation(record, run.trial(record.trial).rows())


def observation(record: TrialRecord, rows: Sequence[EpochRow]) -> Observation:
    """The same of a trial whose rows, one an epoch, were read already."""
    return Observation(
        params=record.params,
        epochs=int(record.params["epochs"]),
        best=smoothed_best([row.dice for row in rows]),
        seconds=rows[-1].seconds if rows else 0.0,
        running=record.state == TrialState.RUNNING,
    )
