"""Which configuration of a run is the model: the one that its report or its comparison names first.

Of a search that is the one with the highest expected Dice, as `brainseg confirm` ranks them. Of a
confirmation, or a fixed list of points, it is the first of `brainseg compare`; where too little was
trained to compare, the one with the highest mean Dice over its trainings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from brainseg.analysis.comparison import Comparison, compare
from brainseg.analysis.scores import name_of
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.schema import did_you_mean
from brainseg.data.readers.problems import some
from brainseg.records.queries import (
    by_configuration,
    failures,
    is_list,
    varied_between_configurations,
)
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.search.confirmation import RankedConfiguration, rank_configurations

SHOWN = 8  # names in one sentence


@dataclass(frozen=True, kw_only=True)
class RunConfiguration:
    """A configuration of a run that has a network.

    Attributes:
        rank: 1 is the winner.
        name: as tables have it, with what distinguishes it from the others.
        members: the trials whose networks make the model: of a search the one that leads, else all
            that are done.
        trials: all trials of the configuration, whatever became of them.
        dice: what it was ranked by; None where that is not known.
    """

    rank: int
    name: str
    members: tuple[str, ...]
    trials: tuple[str, ...]
    dice: float | None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A run's configurations that have a network, best first.

    Attributes:
        rule: by what they are ranked, in words.
        is_search: whether a model is one trial, not all folds and seeds of a configuration.
        comparison: of a list of points, where it can be made.
    """

    configurations: tuple[RunConfiguration, ...]
    rule: str
    is_search: bool
    comparison: Comparison | None = None

    @property
    def winner(self) -> RunConfiguration:
        return self.configurations[0]

    def named(self, arm: str) -> RunConfiguration:
        """The configuration that ``arm`` names: as tables have it, or by a trial's number.

        Raises:
            ValueError: there is none; the known ones are listed.
        """
        for configuration in self.configurations:
            if arm == configuration.name:
                return configuration
            if arm in configuration.trials:
                return replace(configuration, members=(arm,)) if self.is_search else configuration
        short = [c for c in self.configurations if arm == c.name.partition(";")[0]]
        if len(short) == 1:
            return short[0]
        names = [configuration.name for configuration in self.configurations]
        listed = " | ".join(names[:SHOWN]) + (" | ..." if len(names) > SHOWN else "")
        raise ValueError(
            f"there is no configuration {arm!r} with a network{did_you_mean(arm, names)}; name one "
            f"of these, or a trial of it, as {self.winner.members[0]}: {listed}"
        )


def rank(run: RunSnapshot) -> Ranking:
    """The configurations of a run that have a network.

    Raises:
        ValueError: no trial of it has finished.
    """
    ranking = _of_list(run) if is_list(run.sweep) else _of_search(run)
    if not ranking.configurations and "refits" in run.sweep:
        raise ValueError(_unfinished_refit(run))
    if not ranking.configurations:
        failed = failures(run.records)
        raise ValueError(
            f"{run.path} has no finished trial with a score yet{f' ({failed})' if failed else ''}; "
            "run its command again to let it finish, then name it"
        )
    return ranking


def require_ended(run: Run, purpose: str) -> None:
    """Refuse a run that still trains, since its winner may change.

    Args:
        purpose: what its winner is for, as `patients are opened for its winner`.

    Raises:
        ValueError: a trial has not ended, or trials that are asked for have not begun.
    """
    rule = f"a run must have ended before {purpose}, which may still change"
    remedy = "let it finish, or run its command again"
    trials = run.trials()
    if going := [record.trial for record in trials if record.state not in ENDED]:
        raise ValueError(
            f"{rule}, {len(going)} of the {len(trials)} trials of {run.path} have not "
            f"({some(going)}); {remedy}"
        )
    last = run.drivers()[-1:]  # of a list, trials that have not begun are not listed
    if any(driver["event"] == "begins" or driver.get("whole") is False for driver in last):
        raise ValueError(f"{rule}, {run.path} was interrupted before its end; {remedy}")


def _unfinished_refit(run: RunSnapshot) -> str:
    """How far a refit is that has no network yet, and what makes it finish."""
    trials = list(run.trials.values())
    reached = max((trial.rows[-1].epoch for trial in trials if trial.rows), default=0)
    known = (trial.record.params.get("epochs") for trial in trials)
    count = f" ({reached} of {epochs})" if (epochs := next(filter(None, known), None)) else ""
    again = f"`brainseg refit {run.sweep['refits']['run']}`"
    states = {trial.record.state for trial in trials}
    if failed := failures(run.records):
        remedy = f"{failed}; {again} with --retry-failed tries it again"
    elif states == {TrialState.STOPPED}:
        remedy = f"it was stopped; move {run.path} away, then {again} starts it anew"
    else:
        remedy = f"{again} lets it finish"
    return f"the refit has not reached its last epoch{count}, {run.path} has no network; {remedy}"


def _of_search(run: RunSnapshot) -> Ranking:
    ranked = rank_configurations(run.records, run.expected_dice)
    paths = varied_between_configurations([record for record in run.records if record.params])
    of_trial = {record.trial: record for record in run.records}
    return Ranking(
        configurations=tuple(
            RunConfiguration(
                rank=number,
                name=name_of([of_trial[configuration.trial]], paths),
                members=(configuration.trial,),
                trials=configuration.trials,
                dice=_selected_by(configuration),
            )
            for number, configuration in enumerate(ranked, start=1)
        ),
        is_search=True,
        rule="expected Dice" if run.expected_dice else "the highest Dice of any epoch",
    )


def _selected_by(configuration: RankedConfiguration) -> float:
    return configuration.dice if configuration.expected is None else configuration.expected


def _of_list(run: RunSnapshot) -> Ranking:
    records = [record for record in run.records if record.params]
    paths = varied_between_configurations(records)
    groups = {name_of(group, paths): group for group in by_configuration(records)}
    members = {name: tuple(_done(group)) for name, group in groups.items()}
    try:
        comparison, rule = compare(run), "mean Dice over patients, as `brainseg compare` has it"
    except ValueError:  # too few seeds, folds or patients
        comparison, rule = None, "mean Dice over trainings, too few for `brainseg compare`"
    compared = {c.name: c.dice.mean for c in comparison.configurations} if comparison else {}
    most = max(map(len, members.values()), default=0)
    means = {name: _mean(run, trials) for name, trials in members.items() if trials}
    rest = sorted(
        means.keys() - compared.keys(),
        key=lambda name: (len(members[name]) < most, -(means[name] or 0.0), name),
    )
    return Ranking(
        configurations=tuple(
            RunConfiguration(
                rank=number,
                name=name,
                members=members[name],
                trials=tuple(record.trial for record in groups[name]),
                dice=compared.get(name, means[name]),
            )
            for number, name in enumerate([*compared, *rest], start=1)
        ),
        is_search=False,
        rule=rule,
        comparison=comparison,
    )


def _done(group: Sequence[TrialRecord]) -> list[str]:
    return [record.trial for record in group if record.state == TrialState.DONE]


def _mean(run: RunSnapshot, trials: Sequence[str]) -> float | None:
    """The mean over trainings of their patients' mean Dice at the last epoch."""
    tables = [run.trials[trial].last for trial in trials]
    means = [table["dice"].mean() for table in tables if table is not None and len(table)]
    return float(fmean(means)) if means else None
