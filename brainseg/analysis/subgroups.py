"""Dice by site and by tumour size, beside the comparison's leader: exploratory.

Nobody chose these groups beforehand, and nothing is corrected for their number: what differs here
is a hypothesis for another study. The estimator is that of the comparison, on the group's patients
alone.

Shapes: C configurations, S seeds, P patients.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis.best_set import pairwise
from brainseg.analysis.comparison import FEWEST_PATIENTS
from brainseg.analysis.estimate import Interval, Trainings, estimate
from brainseg.analysis.scores import Scores, gather
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.data.table import tumour_volumes
from brainseg.records.queries import fold_count

UNKNOWN = "unknown"  # site


@dataclass(frozen=True, kw_only=True)
class GroupScore:
    """A configuration on a group's patients; bounds are NaN where the group is too small."""

    name: str
    dice: Interval
    difference: Interval  # its Dice less that of the comparison's leader


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Patients that have something in common."""

    kind: str  # "site" or "tumour size"
    name: str
    patients: int
    scores: tuple[GroupScore, ...]  # the comparison's configurations, in its order


def subgroups(run: RunSnapshot) -> tuple[Subgroup, ...]:
    """The groups of a run that ``compare`` accepts; none where the table of slices tells none."""
    scores = gather(run, folds=fold_count(run.sweep))
    table = run.slices
    if table.empty:
        return ()
    table = table.assign(person=table["patient"].map(run.person))
    table = table[table["person"].isin(scores.persons)]
    return tuple(
        _subgroup(scores, kind, name, np.isin(scores.persons, persons))
        for kind, groups in (("site", _by_site(table)), ("tumour size", _by_size(table)))
        for name, persons in groups
    )


def _subgroup(scores: Scores, kind: str, name: str, held_P: NDArray[np.bool_]) -> Subgroup:
    dice_CSP, trainings = scores.dice_CSP[:, :, held_P], Trainings(scores.fold_SP[:, held_P])
    mean_C = dice_CSP.mean((1, 2))
    if trainings.patients < FEWEST_PATIENTS:
        own = [_alone(mean) for mean in mean_C]
        gaps = [_alone(mean - mean_C[0]) for mean in mean_C]
    else:
        own = [estimate(dice_SP, trainings).of_dice() for dice_SP in dice_CSP]
        gaps = [row[0].of_difference() for row in pairwise(dice_CSP, trainings)]
    return Subgroup(
        kind=kind,
        name=name,
        patients=trainings.patients,
        scores=tuple(
            GroupScore(name=name, dice=dice, difference=difference)
            for name, dice, difference in zip(scores.names, own, gaps, strict=True)
        ),
    )


def _alone(mean: float) -> Interval:
    return Interval(mean=float(mean), low=math.nan, high=math.nan)


def _by_site(table: pd.DataFrame) -> Iterator[tuple[str, Sequence[str]]]:
    """The persons of each site; nothing where fewer than two are known."""
    if "site" not in table or table.loc[table["site"] != "", "site"].nunique() < 2:
        return
    site_of = table.groupby("person")["site"].first().replace("", UNKNOWN)
    for site, persons in site_of.groupby(site_of):
        yield str(site), list(persons.index)


def _by_size(table: pd.DataFrame) -> Iterator[tuple[str, Sequence[str]]]:
    """Thirds of the persons by their tumour's volume, the mean over their scans."""
    if "tumour_pixels" not in table:
        return
    volumes, unit = tumour_volumes(table)
    of_scans = volumes.groupby([table["person"], table["patient"]]).sum()
    size_of = of_scans.groupby(level="person").mean()
    if size_of.min() == size_of.max():
        return
    limits = size_of.quantile([1 / 3, 2 / 3])
    low, high = (f"{limit:.{0 if limit >= 10 else 1}f}" for limit in limits)
    names = (f"up to {low} {unit}", f"above {low}, up to {high} {unit}", f"above {high} {unit}")
    third_of = pd.Series(np.searchsorted(limits, size_of), index=size_of.index)
    for third, persons in third_of.groupby(third_of):
        yield names[int(third)], list(persons.index)
