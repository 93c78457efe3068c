"""Which configurations of a confirmation may be the best.

Configurations are compared on the Dice of the last epoch (last.csv), which no score chose, over the
patients and the seeds that all of them have. The scores of the search are not used: the highest of
many scores is high partly by luck (the winner's curse), and luck does not repeat.

The headline is the set that holds the best configuration with 95 %, see ``best_set``. Those that
left the race stand below it, with what beat them.

Shapes: C configurations, S seeds, P patients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainseg.analysis.best_set import best_set, pairwise
from brainseg.analysis.estimate import Estimate, Interval, Trainings, estimate
from brainseg.analysis.failures import Failures, failures
from brainseg.analysis.pairs import Pair, pairs
from brainseg.analysis.power import Further, beyond_chance, further
from brainseg.analysis.race import tail
from brainseg.analysis.ranks import ranks
from brainseg.analysis.scores import LeftRace, Scores, gather, listed_seeds, what_to_do
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.points import too_few_trainings
from brainseg.records.queries import fold_count, is_list
from brainseg.records.run import TrialRecord

MARGIN = 0.02  # of Dice; a configuration behind by less is good enough
FEWEST_PATIENTS = 6
SIMULATED = 20  # patients from which on the coverage of the intervals was simulated


@dataclass(frozen=True, kw_only=True)
class ComparedConfiguration:
    """A configuration among the others."""

    name: str
    dice: Interval  # of its own mean Dice
    may_be_best: bool
    to_best: Interval  # its Dice less that of the best of the others; holds for all at once
    first: float  # share of draws in which it is first
    rank_low: float
    rank_high: float
    failures: Failures  # beside those of the leader
    parameters: float  # NaN if not recorded
    device_seconds: float


@dataclass(frozen=True, kw_only=True)
class Restricted:
    """The same answer on fewer patients: those that did not validate the search."""

    patients: int
    leader: str
    may_be_best: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every configuration, best first."""

    configurations: tuple[ComparedConfiguration, ...]
    left: tuple[LeftRace, ...]
    pairs: tuple[Pair, ...]
    unseen: Restricted | None  # None: no search, or too few of such patients
    further: Further | None  # of the first and the second of the set; None: nothing to promise
    seeds: tuple[int, ...]
    patients: int
    folds: int  # 0: the validation patients of one split
    cut_anew: bool  # whether each seed has folds of its own
    margin: float
    notes: tuple[str, ...]

    @property
    def may_be_best(self) -> tuple[ComparedConfiguration, ...]:
        """The set that holds the best with 95 %."""
        return tuple(compared for compared in self.configurations if compared.may_be_best)

    def not_worse(self, compared: ComparedConfiguration) -> bool:
        """Whether a configuration is shown to be at most ``margin`` behind the best."""
        return compared.to_best.low > -self.margin

    @property
    def smallest(self) -> ComparedConfiguration | None:
        """The not worse one with the fewest parameters; None without one, or without its size."""
        good = [compared for compared in self.configurations if self.not_worse(compared)]
        if not good or any(math.isnan(compared.parameters) for compared in good):
            return None
        return min(good, key=lambda compared: compared.parameters)


def compare(run: RunSnapshot, *, margin: float = MARGIN) -> Comparison:
    """Compare the configurations of a run that trained each over folds or over seeds.

    The same run gives the same figures.

    Raises:
        ValueError: the run is a search; it kept no last.csv; it has fewer than two complete
            configurations, too few patients, or too few trainings to tell how much they vary; a
            margin outside 0 to 1.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of Dice lies between 0 and 1, got {margin}; 0.02 is usual")
    _refuse_search(run)
    folds = fold_count(run.sweep)
    scores = gather(run, folds=folds)
    _refuse_small(run, scores, folds)
    trainings = Trainings(scores.fold_SP)
    level = _level(run, scores)
    differences = pairwise(scores.dice_CSP, trainings)
    configurations = _configurations(run, scores, trainings, differences, level)
    return Comparison(
        configurations=tuple(configurations),
        left=scores.left,
        pairs=pairs(scores.names, differences),
        unseen=_unseen(scores, level),
        further=_further(configurations, trainings, differences, level),
        seeds=scores.seeds,
        patients=trainings.patients,
        folds=folds,
        cut_anew=1 < len(scores.seeds) == len(np.unique(scores.fold_SP, axis=0)),
        margin=margin,
        notes=(*scores.notes, *_limits(trainings.patients)),
    )


def _refuse_search(run: RunSnapshot) -> None:
    if refits := run.sweep.get("refits"):
        raise ValueError(
            f"{run.path} is a refit, a single training that nobody is left to score; compare what "
            f"it refits: {refits['run']}"
        )
    if not is_list(run.sweep):
        raise ValueError(
            f"only configurations that were trained to their last epoch can be compared, and "
            f"{run.path} is a search, which stops trials early; run `brainseg confirm {run.path}` "
            "first"
        )


def _refuse_small(run: RunSnapshot, scores: Scores, folds: int) -> None:
    patients = scores.fold_SP.shape[1]
    if patients < FEWEST_PATIENTS:
        raise ValueError(
            f"a comparison takes {FEWEST_PATIENTS} or more patients, since with fewer no "
            f"difference can be told from chance, and {run.path} has {patients}; confirm over "
            "folds, or validate on more patients"
        )
    if lacking := too_few_trainings(folds, scores.seeds):
        asked = run.sweep["strategy"].get("seeds", scores.seeds)
        if not too_few_trainings(folds, asked):
            lacking = (
                f"of {listed_seeds(asked)} the configurations have only "
                f"{listed_seeds(scores.seeds)} in common so far; {what_to_do(run.records)}"
            )
        raise ValueError(f"{lacking} ({run.path})")


def _limits(patients: int) -> list[str]:
    """What so few patients cannot show."""
    if patients >= SIMULATED:
        return []
    return [
        f"{patients} patients: the coverage of the intervals was simulated for {SIMULATED} "
        "patients and more."
    ]


def _level(run: RunSnapshot, scores: Scores) -> float:
    """The one-sided level at which a configuration beats another in this comparison."""
    strategy = run.sweep["strategy"]
    looks = len(strategy["seeds"]) - 1 if strategy.get("race") else 0
    return tail(len(scores.names) + len(scores.left), looks=looks, last=True)


def _configurations(
    run: RunSnapshot,
    scores: Scores,
    trainings: Trainings,
    differences: list[list[Estimate]],
    level: float,
) -> list[ComparedConfiguration]:
    """Every configuration beside the best of the others; the failures beside the first's."""
    judged = best_set(differences, level)
    drawn = ranks(scores.dice_CSP, trainings)
    return [
        ComparedConfiguration(
            name=scores.names[c],
            dice=estimate(dice_SP, trainings).of_dice(),
            may_be_best=bool(judged.may_be_best_C[c]),
            to_best=judged.to_best[c],
            first=drawn.first_C[c],
            rank_low=drawn.low_C[c],
            rank_high=drawn.high_C[c],
            failures=failures(dice_SP, scores.dice_CSP[0]),
            parameters=_parameters(run, scores.groups[c]),
            device_seconds=sum(record.device_seconds for record in scores.groups[c]),
        )
        for c, dice_SP in enumerate(scores.dice_CSP)
    ]


def _further(
    configurations: Sequence[ComparedConfiguration],
    trainings: Trainings,
    differences: list[list[Estimate]],
    level: float,
) -> Further | None:
    """What would tell the first from the second of the set."""
    for rival, compared in enumerate(configurations[1:], start=1):
        if compared.may_be_best:
            return further(
                compared.name,
                differences[0][rival],
                trainings,
                tail=level,
                spread=beyond_chance(differences),
            )
    return None


def _unseen(scores: Scores, level: float) -> Restricted | None:
    """The answer without the patients on which the search chose the configurations."""
    unseen_P = ~scores.searched_P
    if unseen_P.all() or unseen_P.sum() < FEWEST_PATIENTS:
        return None
    dice_CSP = scores.dice_CSP[:, :, unseen_P]
    judged = best_set(pairwise(dice_CSP, Trainings(scores.fold_SP[:, unseen_P])), level)
    return Restricted(
        patients=int(unseen_P.sum()),
        leader=scores.names[int(dice_CSP.mean((1, 2)).argmax())],
        may_be_best=tuple(
            name for name, stays in zip(scores.names, judged.may_be_best_C, strict=True) if stays
        ),
    )


def _parameters(run: RunSnapshot, group: Sequence[TrialRecord]) -> float:
    """Parameters of the configuration's network, as its trials recorded them."""
    rows = (row for record in group for row in run.trials[record.trial].rows[:1])
    return float(next((row.parameters for row in rows if row.parameters), math.nan))
