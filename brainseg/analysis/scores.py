"""The Dice of each complete configuration, on the seeds and patients that all of them have."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis.configurations import by_person
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import (
    by_configuration,
    failures,
    full_name,
    in_words,
    varied_between_configurations,
)
from brainseg.records.run import TrialRecord
from brainseg.records.trial_state import TrialState


@dataclass(frozen=True, kw_only=True)
class LeftRace:
    """A configuration that no longer takes part, since another one beat it."""

    name: str
    by: str
    seeds: tuple[int, ...]  # after which it left
    dice: float  # its mean over them
    difference: float  # its Dice less that of the one that beat it
    bound: float  # the corrected upper bound of that difference


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The Dice of configurations (C), best first, with the same seeds (S) of the same patients (P).

    A person of whom several patients are (visits, scans) counts once, with their mean.
    """

    groups: tuple[tuple[TrialRecord, ...], ...]  # the trials of each configuration
    names: tuple[str, ...]
    dice_CSP: NDArray[np.float64]
    fold_SP: NDArray[np.int64]
    persons: tuple[str, ...]
    searched_P: NDArray[np.bool_]  # whether the patient validated the search
    seeds: tuple[int, ...]
    left: tuple[LeftRace, ...]
    notes: tuple[str, ...]  # what is missing or left out, and why


def gather(run: RunSnapshot, *, folds: int) -> Scores:
    """Each configuration's Dice at the last epoch; ``folds`` is 0 without.

    A seed of a configuration counts if all its folds are done. Where configurations have different
    seeds, either those seeds or those configurations are left out, whichever keeps more trainings,
    and the notes say so.

    Raises:
        ValueError: fewer than two configurations are complete.
    """
    records = [record for record in run.records if record.params]
    paths = varied_between_configurations(records)
    gone = {line["trial"]: line for line in run.race}
    groups = by_configuration(records)
    racing = [group for group in groups if not _trials(group) & gone.keys()]
    # Whatever the order in which trials came, the same figures.
    racing.sort(key=lambda group: name_of(group, paths))
    names = [name_of(group, paths) for group in racing]
    tables = [by_person(run, group, max(folds, 1)) for group in racing]
    kept, seeds = _largest_common(tables)
    if len(kept) < 2:
        raise ValueError(_too_few(run, records, len(kept)))
    notes = _missing(run, racing, names, tables, kept, seeds)
    cells = [[tables[n][seed] for seed in seeds] for n in kept]
    persons = sorted(set.intersection(*(set(cell.index) for row in cells for cell in row)))
    most = max(len(cell) for row in cells for cell in row)
    if most > len(persons):
        notes.append(f"{most - len(persons)} patients are left out: "
                     "some configurations did not score them.")  # fmt: skip
    dice_CSP = np.array([[cell.loc[persons, "dice"] for cell in row] for row in cells], float)
    order = np.argsort(-dice_CSP.mean((1, 2)), kind="stable")
    return Scores(
        groups=tuple(tuple(racing[kept[c]]) for c in order),
        names=tuple(names[kept[c]] for c in order),
        dice_CSP=dice_CSP[order],
        fold_SP=np.array([cell.loc[persons, "fold"] for cell in cells[0]], np.int64),
        persons=tuple(persons),
        searched_P=np.array([person in run.validated_search for person in persons]),
        seeds=tuple(seeds),
        left=tuple(
            _left(run, group, groups, paths, gone, folds) for group in groups if group not in racing
        ),
        notes=tuple(notes),
    )


def _trials(group: Sequence[TrialRecord]) -> set[str]:
    return {record.trial for record in group}


def _left(
    run: RunSnapshot,
    group: Sequence[TrialRecord],
    groups: Sequence[Sequence[TrialRecord]],
    paths: Sequence[str],
    gone: Mapping[str, Mapping[str, Any]],
    folds: int,
) -> LeftRace:
    """What the race noted of a configuration that left it; its Dice is NaN if a table is lost."""
    note = next(gone[trial] for trial in sorted(_trials(group)) if trial in gone)
    by = next((name_of(other, paths) for other in groups if note["by"] in _trials(other)), "")
    tables = by_person(run, group, max(folds, 1))
    means = [tables[seed]["dice"].mean() if seed in tables else nan for seed in note["seeds"]]
    return LeftRace(
        name=name_of(group, paths),
        by=by or f"trial {note['by']}",
        seeds=tuple(note["seeds"]),
        dice=fmean(means),
        difference=note["difference"],
        bound=note["bound"],
    )


def name_of(group: Sequence[TrialRecord], paths: Sequence[str]) -> str:
    """A configuration's name in tables, with its values at ``paths``, on which others differ."""
    return full_name(group[0].configuration, in_words(group[0].params, paths))


def _largest_common(
    tables: Sequence[Mapping[int, pd.DataFrame]],
) -> tuple[list[int], list[int]]:
    """The configurations to compare and the seeds that all of them have: most trainings.

    So a failed trial does not cost many other configurations a seed, nor its own configuration its
    place where there are few seeds.
    """
    best: tuple[list[int], list[int]] = ([n for n, table in enumerate(tables) if table][:1], [])
    available = [frozenset(table) for table in tables if table]
    for seeds in {first & second for first in available for second in available} - {frozenset()}:
        kept = [n for n, table in enumerate(tables) if seeds <= table.keys()]
        if len(kept) > 1 and _size(kept, seeds) > _size(*best):
            best = kept, sorted(seeds)
    return best


def _size(configurations: Collection[int], seeds: Collection[int]) -> tuple[int, int, list[int]]:
    trainings = len(configurations) * len(seeds)
    return trainings, len(configurations), [-seed for seed in sorted(seeds)]


def _too_few(run: RunSnapshot, records: Sequence[TrialRecord], complete: int) -> str:
    done = [record for record in records if record.state == TrialState.DONE]
    if done and not any(run.trials[record.trial].last is not None for record in done):
        return (
            f"a comparison reads each trial's last.csv, and no trial of {run.path} has one: an "
            "older version of brainseg ran it; run it again, or confirm it"
        )
    return (
        f"a comparison takes two or more configurations with a seed that is done in every fold, "
        f"and {run.path} has {complete}; {what_to_do(records)}"
    )


def what_to_do(records: Sequence[TrialRecord]) -> str:
    """How to train what is missing, and which trials failed."""
    failed = failures(records)
    again = "run the same command again"
    return f"{failed}; {again} with --retry-failed" if failed else f"{again} to train the rest"


def _missing(
    run: RunSnapshot,
    groups: Sequence[Sequence[TrialRecord]],
    names: Sequence[str],
    tables: Sequence[Mapping[int, pd.DataFrame]],
    kept: Sequence[int],
    seeds: Sequence[int],
) -> list[str]:
    """A sentence for each configuration that lacks a seed, and one for the seeds left out."""
    started = {int(record.params["seed"]) for group in groups for record in group}
    notes = []
    for n, group in enumerate(groups):
        lacks = sorted(started - set(tables[n]))
        if lacks or n not in kept:
            left = "" if n in kept else "; it is left out"
            notes.append(f"{names[n]} is incomplete for {listed_seeds(lacks)} "
                         f"({_why(run, group)}){left}.")  # fmt: skip
    if unused := sorted(started - set(seeds)):
        notes.append(f"Compared on {listed_seeds(seeds)} only: some configurations lack "
                     f"{listed_seeds(unused)}.")  # fmt: skip
    return notes


def _why(run: RunSnapshot, group: Sequence[TrialRecord]) -> str:
    """What became of a configuration's trials that have no last epoch."""
    whys = [
        f"trial {record.trial} {record.state}" + (f": {record.reason}" if record.reason else "")
        for record in group
        if record.state != TrialState.DONE or run.trials[record.trial].last is None
    ]
    return "; ".join(whys) or "not every fold has started"


def listed_seeds(seeds: Sequence[int]) -> str:
    """`seed 1`, `seeds 0 and 1`, `seeds 0, 1, 2`."""
    numbers = " and ".join(map(str, seeds)) if len(seeds) < 3 else ", ".join(map(str, seeds))
    return f"seed{'s'[: len(seeds) > 1]} {numbers}"
