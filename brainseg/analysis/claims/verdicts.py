"""Which conclusions of an earlier study a run supports or refutes.

Configurations are compared in pairs, on the seeds and the patients that all of them have. Dice is
that of the last epoch, judged by the comparison's own estimator (``best_set.pairwise``). At its
best epoch a learning rate that stays high would gain by its noise alone.

A claim is supported if the whole interval of every comparison that it makes lies on the claimed
side of zero, refuted if the whole interval of one lies on the other side, and inconclusive
otherwise. Either word is wrong with a probability of 2.5 % at most: since all comparisons must
agree to support a claim (an intersection-union test, Berger 1982), that bound of an interval needs
no correction; since one may refute it, the other bound is corrected for their number (Bonferroni).
A claim is not supported before every configuration of the sweep is complete.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from brainseg.analysis.claims.contrasts import MEASURES, Contrast, Study, contrast
from brainseg.analysis.scores import gather
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.claims import Claim, Faster, Point, configurations_of, from_record, matches
from brainseg.records.queries import fold_count

Word = Literal["supported", "refuted", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    claim: Claim
    word: Word
    why: str
    contrasts: tuple[Contrast, ...] = ()


def verdicts(run: RunSnapshot) -> list[Verdict]:
    """A verdict on each claim that the run's sweep carries."""
    claims = [from_record(record) for record in run.sweep.get("claims", [])]
    if not claims:
        return []
    try:
        study = Study(run, gather(run, folds=fold_count(run.sweep)))
    except ValueError as error:
        why = f"Nothing can be compared yet: {error}."
        return [Verdict(claim=claim, word="inconclusive", why=why) for claim in claims]
    return [_verdict(study, claim) for claim in claims]


def _verdict(study: Study, claim: Claim) -> Verdict:
    matching = []
    for point in configurations_of(claim):
        matching.append([c for c in study.configurations if matches(point, c.records[0].params)])
        if not matching[-1]:
            return Verdict(claim=claim, word="inconclusive", why=_absent(study, point))
    ours = matching[0]
    others = [configuration for configuration in study.configurations if configuration not in ours]
    rivals = matching[1] if isinstance(claim, Faster) else others
    if not rivals:
        why = f"Only {ours[0].name} is complete: there is nothing to compare it with."
        return Verdict(claim=claim, word="inconclusive", why=why)
    pairs = [(configuration, rival) for configuration in ours for rival in rivals]
    contrasts = tuple(contrast(study, claim, *pair, comparisons=len(pairs)) for pair in pairs)
    why = _why(claim, contrasts)
    word: Word = "inconclusive"
    if any(c.opposes for c in contrasts):
        word = "refuted"
    elif all(c.agrees for c in contrasts):
        missing = _missing(study)
        word, why = ("inconclusive", f"{why} {missing}") if missing else ("supported", why)
    return Verdict(claim=claim, word=word, why=why, contrasts=contrasts)


def _absent(study: Study, point: Point) -> str:
    """That no complete configuration is the one that a claim names, and what is known of it."""
    words = ", ".join(f"{path}={value}" for path, value in point.items())
    return " ".join([f"No configuration with {words} is complete.", *study.scores.notes])


def _missing(study: Study) -> str:
    """Why no claim is supported yet: configurations that are not among the complete ones."""
    complete = len(study.configurations)
    if complete >= study.asked:
        return ""
    sentence = f"Not supported before all configurations are complete: {complete} of {study.asked}."
    return " ".join([sentence, *study.scores.notes])


def _why(claim: Claim, contrasts: Sequence[Contrast]) -> str:
    """The comparison that refutes the claim most, or else the one that supports it least."""
    decisive = min(contrasts, key=lambda c: (not c.opposes, c.agrees, c.sign * c.difference))
    name, form = MEASURES[type(claim)]
    sentence = (
        f"{name} {_values(decisive.ours, form)} for {decisive.configuration.name}; "
        f"{_values(decisive.theirs, form)} for {decisive.rival.name}"
    )
    if decisive.ours:
        sentence += f"; difference {decisive.difference:+{form}}"
    if not math.isnan(decisive.low):
        sentence += f", 95 % interval {decisive.low:+{form}} to {decisive.high:+{form}}"
    if decisive.patients:
        sentence += f", over {decisive.patients} patients"
    sentence += f" (no interval: {decisive.lacks})" if decisive.lacks else ""
    if len(contrasts) > 1:
        return f"{sentence}. The decisive one of {len(contrasts)} comparisons."
    return f"{sentence}."


def _values(values: Sequence[float], form: str) -> str:
    """The mean over seeds, and the lowest and the highest of them."""
    if not values:
        return "none"
    spread = f" ({min(values):{form}} to {max(values):{form}} over {len(values)} seeds)"
    return f"{fmean(values):{form}}{spread if len(values) > 1 else ''}"
