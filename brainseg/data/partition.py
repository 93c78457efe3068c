"""Which slices train, validate or are locked for the test: as recorded by the run, or drawn now."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.config.sweep import Confirms, Split
from brainseg.data.dataset import Data
from brainseg.data.fingerprint import what_differs
from brainseg.data.quality.duplicates import group_patients, hash_slices
from brainseg.data.quality.shared_masks import patients_of_one_mask
from brainseg.data.readers.problems import counted, some
from brainseg.data.splits.draw import Groups, locked_and_folds, split_table
from brainseg.data.table import read_slices
from brainseg.process import Log
from brainseg.records.files import Unreadable
from brainseg.records.run import START_AGAIN, Run


def assign_split(
    data: Data, split: Split, log: Log, run: Run | None = None, confirms: Confirms | None = None
) -> pd.DataFrame:
    """Return the part of each slice and, if the split has folds, its fold.

    A run that exists keeps the split that it recorded, even if this version of brainseg would draw
    another, or if the split file has changed. A confirmation keeps the parts of its search, so
    the search's test patients stay locked. With folds, the part is 'test' (fold -1) or 'train'.
    """
    if run and run.sweep.exists():
        recorded = read_slices(run.slices)
        _require_whole(run, len(recorded))
        if recorded[["patient", "slice"]].equals(data.table[["patient", "slice"]]):
            return recorded[[name for name in ("part", "fold") if name in recorded]]
    groups = None if split.by == "slices" else linked_patients(data, log)
    if confirms:
        part = _as_searched(data, Run(Path(confirms.search)))
    else:
        part = split_table(data.table, split, groups)
    if not split.folds:
        return part.to_frame("part")
    fold = locked_and_folds(data.table, part, split.folds, split.seed, groups)
    return pd.DataFrame({"part": np.where(fold < 0, "test", "train"), "fold": fold})


def _as_searched(data: Data, search: Run) -> pd.Series:
    """The parts that a search recorded.

    Raises:
        ValueError: the data are not the search's.
    """
    if difference := what_differs(search, data.table, data.root):
        raise ValueError(
            f"a confirmation must use the files of its search, those under {data.address} differ "
            f"from what {search.path} recorded: {difference}; restore them, or run the search again"
        )
    table = read_slices(search.slices)
    _require_whole(search, len(table))
    return table["part"]


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
    """Patients and slices of each part, or of the test part and each fold."""
    part = table["part"]
    if "fold" in table:
        part = part.where(table["fold"] < 0, "fold " + table["fold"].astype(str))
    order = sorted(set(part), key=lambda name: (len(name), name))  # fold 2 before fold 10
    rows = {str(name): table[part == name] for name in order}
    return {
        name: {"patients": int(slices["patient"].nunique()), "slices": len(slices)}
        for name, slices in rows.items()
    }
