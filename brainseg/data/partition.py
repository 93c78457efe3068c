"""Which slices train, validate or are locked for the test: as recorded by the run, or drawn now."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from brainseg.config.origins import Confirms, Refits
from brainseg.config.sweep import Split
from brainseg.data.dataset import Data
from brainseg.data.fingerprint import what_differs
from brainseg.data.quality.duplicates import group_patients, hash_slices
from brainseg.data.quality.shared_masks import patients_of_one_mask
from brainseg.data.readers.problems import counted, some
from brainseg.data.splits.draw import Groups, locked_and_folds, split_table
from brainseg.data.splits.folds import FOLD, fold_column, rows_of, seeds_of_folds
from brainseg.data.table import read_slices
from brainseg.process import Log
from brainseg.records.files import Unreadable
from brainseg.records.run import START_AGAIN, Run


def assign_split(
    data: Data,
    split: Split,
    log: Log,
    run: Run | None = None,
    origin: Confirms | Refits | None = None,
    seeds: Sequence[int] = (),
) -> pd.DataFrame:
    """Return the part of each slice, who is one person where patients are linked, and the folds.

    A run that exists keeps what it recorded, even if this version of brainseg would draw another
    split, or if the split file has changed; folds are drawn for seeds that it did not have. A
    confirmation keeps the parts of its search, so the search's test patients stay locked. With
    folds, the part of any other sweep is 'test' (fold -1) or 'train'. So it is of a refit, which
    has no folds: nobody validates.

    Args:
        seeds: for each of which the folds are cut anew, in a column of its own; none: once.
    """
    if run and run.sweep.exists():
        recorded = read_slices(run.slices)
        _require_whole(run, len(recorded))
        if recorded[["patient", "slice"]].equals(data.table[["patient", "slice"]]):
            return _as_recorded(data, split, log, run, recorded, seeds)
    if isinstance(origin, Refits):
        return _all_unlocked(data, Run(Path(origin.run)))
    groups = None if split.by == "slices" else linked_patients(data, log)
    if origin:
        part = _as_searched(data, Run(Path(origin.search)))
    else:
        part = split_table(data.table, split, groups)
    parts = part.to_frame("part")
    if groups and len(set(groups.values())) < len(groups):
        parts["person"] = data.table["patient"].map(groups)
    if not split.folds:
        return parts
    for seed in seeds:
        drawn_from = (split.seed, seed)
        parts[fold_column(seed)] = locked_and_folds(
            data.table, part, split.folds, drawn_from, groups
        )
    if not seeds:
        parts[FOLD] = locked_and_folds(data.table, part, split.folds, split.seed, groups)
    if not origin:
        parts["part"] = part.where(part == "test", "train")
    return parts


def _as_recorded(
    data: Data, split: Split, log: Log, run: Run, recorded: pd.DataFrame, seeds: Sequence[int]
) -> pd.DataFrame:
    """The split of a run; with folds for those of ``seeds`` that it has not been trained with.

    A seed of an earlier version's run keeps the folds that all its seeds had.
    """
    known = run.settings()["strategy"].get("seeds", seeds)
    columns = [fold_column(seed) for seed in seeds]
    parts = recorded[[name for name in ("part", "person", FOLD, *columns) if name in recorded]]
    new = [seed for seed in seeds if seed not in known and fold_column(seed) not in recorded]
    if not (split.folds and new):
        return parts
    if "person" in recorded:
        groups: Groups = dict(zip(recorded["patient"], recorded["person"], strict=True))
    else:
        groups = linked_patients(data, log)
    cuts = {
        fold_column(seed): locked_and_folds(
            data.table, recorded["part"], split.folds, (split.seed, seed), groups
        )
        for seed in new
    }
    return parts.assign(**cuts)


def _all_unlocked(data: Data, run: Run) -> pd.DataFrame:
    """Everybody trains whom the run that is refitted did not lock, and nobody validates.

    Raises:
        ValueError: the data are not that run's.
    """
    table = _recorded(data, run, "a refit must use the files of the run that it refits")
    parts = table[[name for name in ("part", "person") if name in table]]
    return parts.assign(part=parts["part"].where(parts["part"] == "test", "train"))


def _recorded(data: Data, run: Run, rule: str) -> pd.DataFrame:
    """The slices of another run, which is on the same data; refused with ``rule`` if it is not."""
    if difference := what_differs(run, data.table, data.root):
        raise ValueError(
            f"{rule}, those under {data.address} differ from what {run.path} recorded: "
            f"{difference}; restore them, or run that again"
        )
    table = read_slices(run.slices)
    _require_whole(run, len(table))
    return table


def _as_searched(data: Data, search: Run) -> pd.Series:
    """The parts that a search recorded; in folds, those validate of which it trained a trial.

    Raises:
        ValueError: the data are not the search's.
    """
    table = _recorded(data, search, "a confirmation must use the files of its search")
    part = table["part"].copy()
    params = [record.params for record in search.trials() if record.params]
    for fold, seed in {(of.get("fold", 0), of.get("seed", 0)) for of in params}:
        part.iloc[rows_of(table, fold, seed)[1]] = "validation"
    return part


def _require_whole(run: Run, slices: int) -> None:
    """Refuse a table of slices that lost lines, or the split would be drawn anew."""
    expected = sum(part["slices"] for part in run.settings()["split"]["counts"].values())
    if slices != expected:
        raise Unreadable(run.slices, f"it has {slices} slices instead of {expected}", START_AGAIN)


def linked_patients(data: Data, log: Log) -> Groups:
    """Each patient's group: patients that share slices, or may be one person, stay in one part."""
    hashes = hash_slices(data.table, data.root)
    of_one_mask = patients_of_one_mask(data.table, data.mask_digests)
    groups = group_patients(data.table, hashes, of_one_mask)
    members = defaultdict(list)
    for patient, group in groups.items():
        members[group].append(patient)
    if linked := [", ".join(names) for names in members.values() if len(names) > 1]:
        patients = len(groups) - len(members) + len(linked)
        persons = f"{counted(len(linked), 'person')}: {some(linked, '; ')}"
        log(
            f"{patients} patients are linked by their images, masks or names, and kept in one part "
            f"of the split as {persons} (brainseg check says why; if they are different people, "
            "give them other names in a manifest)"
        )
    return groups


def counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Patients and slices of each part, or of the test part and each fold.

    Where folds are cut for each seed, of the test part and of all folds together: `folds` of them,
    of `fewest` to `most` patients.
    """
    part, cuts = table["part"], [table[fold_column(seed)] for seed in seeds_of_folds(table)]
    if cuts:
        part = part.where(cuts[0] < 0, "folds")
    elif FOLD in table:
        part = part.where(table[FOLD] < 0, "fold " + table[FOLD].astype(str))
    order = sorted(set(part), key=lambda name: (len(name), name))  # fold 2 before fold 10
    rows = {str(name): table[part == name] for name in order}
    held = {
        name: {"patients": int(slices["patient"].nunique()), "slices": len(slices)}
        for name, slices in rows.items()
    }
    if cuts:
        sizes = [table["patient"].groupby(cut[cut >= 0]).nunique() for cut in cuts]
        held["folds"] |= {
            "folds": len(sizes[0]),
            "fewest": min(int(size.min()) for size in sizes),
            "most": max(int(size.max()) for size in sizes),
        }
    return held
