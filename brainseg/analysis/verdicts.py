"""Which conclusions of an earlier study a run supports, refutes, or cannot tell.

Arms are compared in pairs, on what both were measured on: the same patients, the same seeds. A
claim is supported if every comparison that it makes lies above zero with its whole 95 % interval,
refuted if one lies below with its whole interval. All else cannot be told. Only trials that ran
to their last epoch count.

Shapes: S seeds, P patients.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import pandas as pd

from brainseg.analysis.curves import SHARE, convergence, interval, roughness
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
from brainseg.records.queries import in_words, named, seed_groups, varied_between_arms
from brainseg.records.run import TrialRecord

# Five patients that all agree do so by chance in 1 of 16 cases, above 1 in 20; two seeds, in half.
FEWEST_PATIENTS, FEWEST_SEEDS = 6, 3
# What is compared for each kind of claim, and how it is written.
MEASURES: dict[type[Claim], tuple[str, str]] = {
    Best: ("mean best Dice", ".3f"),
    Worst: ("mean best Dice", ".3f"),
    Faster: (f"epochs to {100 * SHARE:.0f} % of the lower best Dice", ".1f"),
    Rougher: ("mean change of Dice an epoch in the second half", ".4f"),
}

Word = Literal["supported", "refuted", "cannot be told"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Trials that differ in their seed and their fold alone."""

    words: str
    records: tuple[TrialRecord, ...]

    @property
    def trials(self) -> dict[int, dict[int, str]]:
        """Names by fold, by seed."""
        names: dict[int, dict[int, str]] = {}
        for record in self.records:
            folds = names.setdefault(int(record.params["seed"]), {})
            folds[int(record.params.get("fold", 0))] = record.trial
        return names


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One arm beside one rival, in one measure; ``low`` and ``high`` bound the difference."""

    arm: Arm
    rival: Arm
    ours: tuple[float, ...]  # a value a seed; so are theirs
    theirs: tuple[float, ...]
    sign: int  # of the difference, ours - theirs, if the claim holds
    low: float  # of the 95 % interval; NaN where nothing can be told
    high: float
    patients: int  # 0 for what is measured on curves
    lacks: str = ""  # what it would take to tell, or to tell more

    @property
    def difference(self) -> float:
        return fmean(self.ours) - fmean(self.theirs) if self.ours else math.nan

    @property
    def agrees(self) -> bool:
        """Whether the whole interval lies where the claim says."""
        return min(self.sign * self.low, self.sign * self.high) > 0

    @property
    def opposes(self) -> bool:
        return max(self.sign * self.low, self.sign * self.high) < 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    claim: Claim
    word: Word
    why: str
    contrasts: tuple[Contrast, ...] = ()


def judged(run: RunSnapshot) -> list[Verdict]:
    """A verdict on each claim that the run's sweep carries."""
    arms = _arms(run)
    return [_verdict(run, from_record(one), arms) for one in run.sweep.get("claims", [])]


def _arms(run: RunSnapshot) -> list[Arm]:
    """The arms of a run, named by the model and by what else differs between them."""
    done = [record for record in run.records if record.state == "done"]
    paths = varied_between_arms(done)
    return [
        Arm(
            words=named(group[0].arm, in_words(group[0].params, paths)),
            records=tuple(group),
        )
        for group in seed_groups(done)
    ]


def _verdict(run: RunSnapshot, claim: Claim, arms: Sequence[Arm]) -> Verdict:
    meant = [
        [arm for arm in arms if matches(point, arm.records[0].params)]
        for point in configurations_of(claim)
    ]
    for point, found in zip(configurations_of(claim), meant, strict=True):
        if not found:
            words = ", ".join(f"{path}={value}" for path, value in point.items())
            why = f"No trial of {words} ran to its last epoch."
            return Verdict(claim=claim, word="cannot be told", why=why)
    ours = meant[0]
    rivals = meant[1] if isinstance(claim, Faster) else [arm for arm in arms if arm not in ours]
    if not rivals:
        why = f"Nothing but {ours[0].words} ran to its last epoch."
        return Verdict(claim=claim, word="cannot be told", why=why)
    contrasts = tuple(_contrast(run, claim, arm, rival) for arm in ours for rival in rivals)
    if any(contrast.opposes for contrast in contrasts):
        word: Word = "refuted"
    else:
        word = "supported" if all(one.agrees for one in contrasts) else "cannot be told"
    return Verdict(claim=claim, word=word, why=_why(claim, contrasts), contrasts=contrasts)


def _contrast(run: RunSnapshot, claim: Claim, arm: Arm, rival: Arm) -> Contrast:
    if isinstance(claim, Best | Worst):
        return _dice_contrast(run, arm, rival, sign=1 if isinstance(claim, Best) else -1)
    if isinstance(claim, Faster):
        return _curve_contrast(run, arm, rival, convergence, sign=-1)
    return _curve_contrast(run, arm, rival, lambda a, b: (roughness(a), roughness(b)), sign=1)


def _dice_contrast(run: RunSnapshot, arm: Arm, rival: Arm, *, sign: int) -> Contrast:
    """The best Dice over the seeds and the patients that both have."""
    seeds = sorted(arm.trials.keys() & rival.trials.keys())
    ours, theirs = ([_dice(run, one.trials[seed]) for seed in seeds] for one in (arm, rival))
    common = set[str]().union(*ours).intersection(*ours, *theirs)
    ours_SP = np.array([[dice[name] for name in sorted(common)] for dice in ours])
    theirs_SP = np.array([[dice[name] for name in sorted(common)] for dice in theirs])
    low = high = math.nan
    lacks = f"{len(common)} patients are too few to tell, it takes {FEWEST_PATIENTS}"
    if len(common) >= FEWEST_PATIENTS:
        low, high = interval((ours_SP - theirs_SP).tolist())
        lacks = "" if len(seeds) > 1 else "one seed: what another would change is not in it"
    return Contrast(
        arm=arm,
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
    arm: Arm,
    rival: Arm,
    measure: Callable[[list[float], list[float]], tuple[float, float]],
    *,
    sign: int,
) -> Contrast:
    """``measure`` takes two curves and gives a number for each, NaN if it has none.

    Of a seed in folds it is the mean over the folds that both have.
    """
    pairs = []
    for seed in sorted(arm.trials.keys() & rival.trials.keys()):
        ours, theirs = arm.trials[seed], rival.trials[seed]
        of_folds = [
            measure(dice_curve(run, ours[fold]), dice_curve(run, theirs[fold]))
            for fold in sorted(ours.keys() & theirs.keys())
        ]
        if of_folds and not any(math.isnan(value) for pair in of_folds for value in pair):
            pairs.append((fmean(one for one, _ in of_folds), fmean(two for _, two in of_folds)))
    low = high = math.nan
    lacks = f"too few seeds to tell, it takes {FEWEST_SEEDS}" if pairs else "no curve to measure"
    if len(pairs) >= FEWEST_SEEDS:
        low, high = interval([[ours - theirs] for ours, theirs in pairs])
        lacks = ""
    return Contrast(
        arm=arm,
        rival=rival,
        ours=tuple(ours for ours, _ in pairs),
        theirs=tuple(theirs for _, theirs in pairs),
        sign=sign,
        low=low,
        high=high,
        patients=0,
        lacks=lacks,
    )


def dice_curve(run: RunSnapshot, trial: str) -> list[float]:
    """The validation Dice after each epoch of a trial."""
    return [row.dice for row in run.trials[trial].rows]


def _dice(run: RunSnapshot, trials: Mapping[int, str]) -> dict[str, float]:
    """Each validation patient's Dice at the best epoch of the trial whose fold they are in."""
    table = pd.concat([run.trials[trial].patients for trial in trials.values()])
    return dict(zip(table["patient"], table["dice"].astype(float), strict=True))


def _why(claim: Claim, contrasts: Sequence[Contrast]) -> str:
    """The comparison that refutes the claim most, or else the one that supports it least."""
    one = min(contrasts, key=lambda c: (not c.opposes, c.agrees, c.sign * c.difference))
    name, form = MEASURES[type(claim)]
    said = (
        f"{name} {_values(one.ours, form)} for {one.arm.words}; "
        f"{_values(one.theirs, form)} for {one.rival.words}"
    )
    if one.ours:
        said += f"; difference {one.difference:+{form}}"
    if not math.isnan(one.low):
        said += f", 95 % interval {one.low:+{form}} to {one.high:+{form}}"
    if one.patients:
        said += f", over {one.patients} patients"
    said += f" ({one.lacks})" if one.lacks else ""
    return f"{said}. One of {len(contrasts)} comparisons." if len(contrasts) > 1 else f"{said}."


def _values(values: Sequence[float], form: str) -> str:
    """The mean over seeds, and how far they lie apart."""
    if not values:
        return "none"
    spread = f" ({min(values):{form}} to {max(values):{form}} over {len(values)} seeds)"
    return f"{fmean(values):{form}}{spread if len(values) > 1 else ''}"
