"""The expected Dice of each trial of a search: its score without its luck."""

from collections.abc import Mapping, Sequence
from typing import Any

from brainseg.config.distributions import Choice, distribution
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.config.space import Space
from brainseg.records.queries import REPEATS, is_list, values_tried
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.observations import observation
from brainseg.search.proposals.gaussian_process import FIRST, posterior_mean

EXPECTED = (
    "A Gaussian process estimates it from the hyperparameters and curves of all trials, as the "
    "mean of the best fifth of a trial's epochs, for trials that trained to their end. Where a "
    "trial is better than similar ones, part of that counts as luck."
)


def expected_dice(run: Run) -> dict[str, float]:
    """The expected Dice at its last epoch of each trial that has a score.

    Empty for a list of points, for a space with nothing to search, and while fewer than
    ``gaussian_process.FIRST`` trials have a score.
    """
    records = run.trials()
    rows = {record.trial: run.trial(record.trial).rows() for record in records}
    return expected_of(run.settings(), records, rows)


def expected_of(
    sweep: Mapping[str, Any],
    records: Sequence[TrialRecord],
    rows: Mapping[str, Sequence[EpochRow]],
) -> dict[str, float]:
    """The same of records that were read already; ``rows``, one an epoch, by trial."""
    if is_list(sweep) or not sweep["space"]:
        return {}
    records = [record for record in records if record.state != TrialState.FAILED and record.params]
    observed = {record.trial: observation(record, rows[record.trial]) for record in records}
    scored = [record for record in records if observed[record.trial].best]
    if len(scored) < FIRST:
        return {}
    worth = posterior_mean(_space(sweep, scored), [observed[record.trial] for record in scored])
    return dict(zip((record.trial for record in scored), worth.tolist(), strict=True))


def _space(sweep: Mapping[str, Any], records: Sequence[TrialRecord]) -> Space[TrialConfig]:
    """All in which the trials may differ: what the search draws, and what its first points pin."""
    drawn = {path: distribution(text) for path, text in sweep["space"].items()}
    pinned = {
        path: Choice(*values)
        for path, values in values_tried(records).items()
        if path not in drawn and path not in REPEATS
    }
    return Space(
        build(TrialConfig(), sweep["base"]),
        search=(*drawn, *pinned),
        narrow={**drawn, **pinned},
        fixed={path: value for path, value in sweep["fixed"].items() if path not in pinned},
    )
