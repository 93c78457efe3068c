"""The Dice of each configuration that is complete, on the seeds and patients that all have."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis.arms import out_of_fold
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import in_words, named, seed_groups, varied_between_arms
from brainseg.records.run import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The Dice of every arm that is complete, on what all of them have."""

    arms: tuple[tuple[TrialRecord, ...], ...]  # the trials of each
    words: tuple[str, ...]
    dice_ASP: NDArray[np.float64]
    fold_P: NDArray[np.int64]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]  # what is missing or left out, and why


def gather(run: RunSnapshot, *, folds: int) -> Scores:
    """Each arm's Dice at the last epoch; ``folds`` is 0 without.

    A seed of an arm counts if all its folds are done. Where arms have different seeds, either
    those seeds or those arms are left out, whichever keeps more trainings, and the notes say so.

    Raises:
        ValueError: fewer than two arms are complete.
    """
    records = [record for record in run.records if record.params]
    paths = varied_between_arms(records)
    groups = seed_groups(records)
    # Whatever the order in which trials came, the same figures.
    groups.sort(key=lambda group: _words(group, paths))
    words = [_words(group, paths) for group in groups]
    tables = [_by_patient(run, group, max(folds, 1)) for group in groups]
    kept, seeds = _common(tables)
    if len(kept) < 2:
        raise ValueError(_too_few(run, records, len(kept)))
    notes = _missing(run, groups, words, tables, kept, seeds)
    cells = [[tables[n][seed] for seed in seeds] for n in kept]
    names = sorted(set.intersection(*(set(cell.index) for row in cells for cell in row)))
    most = max(len(cell) for row in cells for cell in row)
    if most > len(names):
        notes.append(f"{most - len(names)} patients are left out: not every arm scored them.")
    return Scores(
        arms=tuple(tuple(groups[n]) for n in kept),
        words=tuple(words[n] for n in kept),
        dice_ASP=np.array([[cell.loc[names, "dice"] for cell in row] for row in cells], float),
        fold_P=cells[0][0].loc[names, "fold"].to_numpy(np.int64),
        seeds=tuple(seeds),
        notes=tuple(notes),
    )


def _words(group: Sequence[TrialRecord], paths: Sequence[str]) -> str:
    return named(group[0].arm, in_words(group[0].params, paths))


def _by_patient(
    run: RunSnapshot, group: Sequence[TrialRecord], folds: int
) -> dict[int, pd.DataFrame]:
    return {seed: own.set_index("patient") for seed, own in out_of_fold(run, group, folds).items()}


def _common(tables: Sequence[Mapping[int, pd.DataFrame]]) -> tuple[list[int], list[int]]:
    """The arms that are compared and the seeds that all of them have: what keeps most trainings.

    One trial that failed neither takes a seed from many other arms, nor its arm from few.
    """
    best: tuple[list[int], list[int]] = ([n for n, own in enumerate(tables) if own][:1], [])
    owned = [frozenset(own) for own in tables if own]
    for seeds in {one & two for one in owned for two in owned} - {frozenset()}:
        kept = [n for n, own in enumerate(tables) if seeds <= own.keys()]
        if len(kept) > 1 and _size(kept, seeds) > _size(*best):
            best = kept, sorted(seeds)
    return best


def _size(arms: Collection[int], seeds: Collection[int]) -> tuple[int, int, list[int]]:
    return len(arms) * len(seeds), len(arms), [-seed for seed in sorted(seeds)]


def _too_few(run: RunSnapshot, records: Sequence[TrialRecord], complete: int) -> str:
    done = [record for record in records if record.state == "done"]
    if done and not any(run.trials[record.trial].last is not None for record in done):
        return (
            f"a comparison reads each trial's last.csv, and no trial of {run.path} has one: an "
            "older version of brainseg ran it; run it again, or confirm it"
        )
    return (
        f"a comparison takes two or more arms of which some seed is done in every fold, and "
        f"{run.path} has {complete}; the command that began it goes on with what is missing"
    )


def _missing(
    run: RunSnapshot,
    groups: Sequence[Sequence[TrialRecord]],
    words: Sequence[str],
    tables: Sequence[Mapping[int, pd.DataFrame]],
    kept: Sequence[int],
    seeds: Sequence[int],
) -> list[str]:
    """A sentence for each arm that lacks something, and one for the seeds that go with it."""
    begun = {int(record.params["seed"]) for group in groups for record in group}
    notes = []
    for n, group in enumerate(groups):
        lacks = sorted(begun - set(tables[n]))
        if lacks or n not in kept:
            left = "" if n in kept else ", and is left out"
            notes.append(f"{words[n]} is not complete for seed {_listed(lacks)}{left}: "
                         f"{_why(run, group)}.")  # fmt: skip
    if unused := sorted(begun - set(seeds)):
        notes.append(f"Compared on seed {_listed(seeds)} alone; {_listed(unused)} not all arms "
                     "have.")  # fmt: skip
    return notes


def _why(run: RunSnapshot, group: Sequence[TrialRecord]) -> str:
    """What became of an arm's trials that have no last epoch."""
    whys = [
        f"trial {record.trial} {record.state}" + (f" ({record.reason})" if record.reason else "")
        for record in group
        if record.state != "done" or run.trials[record.trial].last is None
    ]
    return "; ".join(whys) or "not every fold has begun"


def _listed(values: Sequence[int]) -> str:
    return " and ".join(map(str, values)) if len(values) < 3 else ", ".join(map(str, values))
