"""Which conclusions of an earlier study a run supports or refutes.

Configurations are compared in pairs, on what both were measured on: the same patients, the same
seeds. A claim is supported if the whole 95 % interval of every comparison that it makes lies on the
claimed side of zero, refuted if the whole interval of one lies on the other side, and inconclusive
otherwise. Only trials that ran to their last epoch count.

Shapes: S seeds, P patients.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import pandas as pd

from brainseg.analysis.curves import SHARE, convergence, roughness, student_interval
from brainseg.analysis.paired import FEWEST_PATIENTS
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.claims import (
    Best,
    Claim,
    Faster,
    Rougher,
    Worst,
    configurations_of,
    from_record,
    matches,
)
from brainseg.records.queries import (
    by_configuration,
    full_name,
    in_words,
    varied_between_configurations,
)
from brainseg.records.run import TrialRecord
from brainseg.records.trial_state import TrialState

FEWEST_SEEDS = 3  # two seeds agree by chance in half of all cases
# What is compared for each kind of claim, and how it is written.
MEASURES: dict[type[Claim], tuple[str, str]] = {
    Best: ("mean best Dice", ".3f"),
    Worst: ("mean best Dice", ".3f"),
    Faster: (f"epochs to {100 * SHARE:.0f} % of the lower best Dice", ".1f"),
    Rougher: ("mean change of Dice per epoch in the second half", ".4f"),
}

Word = Literal["supported", "refuted", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Trials that differ in their seed and their fold alone."""

    name: str
    records: tuple[TrialRecord, ...]

    @property
    def trials(self) -> dict[int, dict[int, str]]:
        """Trials' names by fold, by seed."""
        names: dict[int, dict[int, str]] = {}
        for record in self.records:
            folds = names.setdefault(int(record.params["seed"]), {})
            folds[int(record.params.get("fold", 0))] = record.trial
        return names


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A configuration beside a rival, in one measure; ``low`` and ``high`` bound the difference."""

    configuration: Configuration
    rival: Configuration
    ours: tuple[float, ...]  # a value a seed; so are theirs
    theirs: tuple[float, ...]
    sign: int  # of the difference, ours - theirs, if the claim holds
    low: float  # of the 95 % interval; NaN where there is none
    high: float
    patients: int  # 0 for what is measured on curves
    lacks: str = ""  # why there is no interval, or what it leaves out

    @property
    def difference(self) -> float:
        return fmean(self.ours) - fmean(self.theirs) if self.ours else math.nan

    @property
    def agrees(self) -> bool:
        """Whether the whole interval lies on the claimed side of zero."""
        return min(self.sign * self.low, self.sign * self.high) > 0

    @property
    def opposes(self) -> bool:
        """Whether the whole interval lies on the other side."""
        return max(self.sign * self.low, self.sign * self.high) < 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    claim: Claim
    word: Word
    why: str
    contrasts: tuple[Contrast, ...] = ()


def verdicts(run: RunSnapshot) -> list[Verdict]:
    """A verdict on each claim that the run's sweep carries."""
    configurations = _configurations(run)
    claims = map(from_record, run.sweep.get("claims", []))
    return [_verdict(run, claim, configurations) for claim in claims]


def _configurations(run: RunSnapshot) -> list[Configuration]:
    """The configurations of a run, named by the model and by what else differs between them."""
    done = [record for record in run.records if record.state == TrialState.DONE]
    paths = varied_between_configurations(done)
    return [
        Configuration(
            name=full_name(group[0].configuration, in_words(group[0].params, paths)),
            records=tuple(group),
        )
        for group in by_configuration(done)
    ]


def _verdict(run: RunSnapshot, claim: Claim, configurations: Sequence[Configuration]) -> Verdict:
    matching = []
    for point in configurations_of(claim):
        matching.append([c for c in configurations if matches(point, c.records[0].params)])
        if not matching[-1]:
            words = ", ".join(f"{path}={value}" for path, value in point.items())
            why = f"No trial with {words} ran to its last epoch."
            return Verdict(claim=claim, word="inconclusive", why=why)
    ours = matching[0]
    others = [configuration for configuration in configurations if configuration not in ours]
    rivals = matching[1] if isinstance(claim, Faster) else others
    if not rivals:
        why = f"Only {ours[0].name} ran to its last epoch: there is nothing to compare it with."
        return Verdict(claim=claim, word="inconclusive", why=why)
    contrasts = tuple(
        _contrast(run, claim, configuration, rival) for configuration in ours for rival in rivals
    )
    if any(contrast.opposes for contrast in contrasts):
        word: Word = "refuted"
    else:
        agree = all(contrast.agrees for contrast in contrasts)
        word = "supported" if agree else "inconclusive"
    return Verdict(claim=claim, word=word, why=_why(claim, contrasts), contrasts=contrasts)


def _contrast(
    run: RunSnapshot, claim: Claim, configuration: Configuration, rival: Configuration
) -> Contrast:
    if isinstance(claim, Best | Worst):
        sign = 1 if isinstance(claim, Best) else -1
        return _dice_contrast(run, configuration, rival, sign=sign)
    if isinstance(claim, Faster):
        return _curve_contrast(run, configuration, rival, convergence, sign=-1)
    return _curve_contrast(
        run, configuration, rival, lambda a, b: (roughness(a), roughness(b)), sign=1
    )


def _dice_contrast(
    run: RunSnapshot, configuration: Configuration, rival: Configuration, *, sign: int
) -> Contrast:
    """The best Dice over the seeds and the patients that both have."""
    ours_of, theirs_of = configuration.trials, rival.trials
    seeds = sorted(ours_of.keys() & theirs_of.keys())
    ours = [_dice(run, ours_of[seed]) for seed in seeds]
    theirs = [_dice(run, theirs_of[seed]) for seed in seeds]
    common = set[str]().union(*ours).intersection(*ours, *theirs)
    ours_SP = np.array([[dice[name] for name in sorted(common)] for dice in ours])
    theirs_SP = np.array([[dice[name] for name in sorted(common)] for dice in theirs])
    low = high = math.nan
    lacks = f"no interval: it takes {FEWEST_PATIENTS} patients or more, there are {len(common)}"
    if len(common) >= FEWEST_PATIENTS:
        low, high = student_interval((ours_SP - theirs_SP).tolist())
        lacks = "" if len(seeds) > 1 else "one seed only: variation between seeds is not included"
    return Contrast(
        configuration=configuration,
        rival=rival,
        ours=tuple(ours_SP.mean(1).tolist()) if common else (),
        theirs=tuple(theirs_SP.mean(1).tolist()) if common else (),
        sign=sign,
        low=low,
        high=high,
        patients=len(common),
        lacks=lacks,
    )


def _curve_contrast(
    run: RunSnapshot,
    configuration: Configuration,
    rival: Configuration,
    measure: Callable[[list[float], list[float]], tuple[float, float]],
    *,
    sign: int,
) -> Contrast:
    """``measure`` takes two curves and gives a number for each, NaN if it has none.

    Of a seed in folds it is the mean over the folds that both have.
    """
    pairs = []
    ours_of, theirs_of = configuration.trials, rival.trials
    for seed in sorted(ours_of.keys() & theirs_of.keys()):
        ours, theirs = ours_of[seed], theirs_of[seed]
        of_folds = [
            measure(_dice_curve(run, ours[fold]), _dice_curve(run, theirs[fold]))
            for fold in sorted(ours.keys() & theirs.keys())
        ]
        if of_folds and not any(math.isnan(value) for pair in of_folds for value in pair):
            pairs.append((fmean(a for a, _ in of_folds), fmean(b for _, b in of_folds)))
    low = high = math.nan
    lacks = "no curve to measure"
    if pairs:
        lacks = f"no interval: it takes {FEWEST_SEEDS} seeds or more, there are {len(pairs)}"
    if len(pairs) >= FEWEST_SEEDS:
        low, high = student_interval([[a - b] for a, b in pairs])
        lacks = ""
    return Contrast(
        configuration=configuration,
        rival=rival,
        ours=tuple(a for a, _ in pairs),
        theirs=tuple(b for _, b in pairs),
        sign=sign,
        low=low,
        high=high,
        patients=0,
        lacks=lacks,
    )


def _dice_curve(run: RunSnapshot, trial: str) -> list[float]:
    """The validation Dice after each epoch of a trial."""
    return [row.dice for row in run.trials[trial].rows]


def _dice(run: RunSnapshot, trials: Mapping[int, str]) -> dict[str, float]:
    """Each validation patient's Dice at the best epoch of the trial whose fold they are in."""
    table = pd.concat([run.trials[trial].patients for trial in trials.values()])
    return dict(zip(table["patient"], table["dice"].astype(float), strict=True))


def _why(claim: Claim, contrasts: Sequence[Contrast]) -> str:
    """The comparison that refutes the claim most, or else the one that supports it least."""
    contrast = min(contrasts, key=lambda c: (not c.opposes, c.agrees, c.sign * c.difference))
    name, form = MEASURES[type(claim)]
    sentence = (
        f"{name} {_values(contrast.ours, form)} for {contrast.configuration.name}; "
        f"{_values(contrast.theirs, form)} for {contrast.rival.name}"
    )
    if contrast.ours:
        sentence += f"; difference {contrast.difference:+{form}}"
    if not math.isnan(contrast.low):
        sentence += f", 95 % interval {contrast.low:+{form}} to {contrast.high:+{form}}"
    if contrast.patients:
        sentence += f", over {contrast.patients} patients"
    sentence += f" ({contrast.lacks})" if contrast.lacks else ""
    if len(contrasts) > 1:
        return f"{sentence}. The decisive one of {len(contrasts)} comparisons."
    return f"{sentence}."


def _values(values: Sequence[float], form: str) -> str:
    """The mean over seeds, and the lowest and the highest of them."""
    if not values:
        return "none"
    spread = f" ({min(values):{form}} to {max(values):{form}} over {len(values)} seeds)"
    return f"{fmean(values):{form}}{spread if len(values) > 1 else ''}"
