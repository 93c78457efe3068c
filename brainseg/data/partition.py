"""Which slices train, validate or are locked: drawn by patient, or as the run began."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.config.sweep import Confirms, Split
from brainseg.data.dataset import Data, Say
from brainseg.data.quality.duplicates import group_patients, hash_slices
from brainseg.data.splits.draw import Groups, locked_and_folds, split_table
from brainseg.data.table import fingerprint, read_table
from brainseg.records.files import read_json
from brainseg.records.run import Run


def assign_split(
    data: Data, split: Split, say: Say, run: Run | None = None, confirms: Confirms | None = None
) -> pd.DataFrame:
    """The part of each slice, and its fold if there are any: as the run began, else drawn now.

    What is under way keeps its split, whatever a newer version of brainseg would draw, or a split
    file says by now. So do the patients that the search locked which a sweep ``confirms``. Of
    folds, the part is 'test', where fold is -1, or 'train'.
    """
    if run and run.sweep.exists():
        begun = read_table(run.slices)
        if begun[["patient", "slice"]].equals(data.table[["patient", "slice"]]):
            return begun[[name for name in ("part", "fold") if name in begun]]
    groups = None if split.by == "slices" else linked_patients(data, say)
    if confirms:
        part = _as_searched(data, Run(Path(confirms.search)))
    else:
        part = split_table(data.table, split, groups)
    if not split.folds:
        return part.to_frame("part")
    fold = locked_and_folds(data.table, part, split.folds, split.seed, groups)
    return pd.DataFrame({"part": np.where(fold < 0, "test", "train"), "fold": fold})


def _as_searched(data: Data, search: Run) -> pd.Series:
    """The parts that a search began with.

    Raises:
        ValueError: the data are not the search's.
    """
    begun, known = read_table(search.slices), read_json(search.sweep)["data"]["fingerprint"]
    if known != fingerprint(data.table, data.root):
        raise ValueError(
            f"a confirmation needs the very files of its search, those under {data.address} are "
            f"not the ones that {search.path} began with; restore them, or search again"
        )
    return begun["part"]


def linked_patients(data: Data, say: Say) -> Groups:
    """Which patients share slices, or may be one person; they are not parted by a split."""
    groups = group_patients(data.table, hash_slices(data.table, data.root))
    members = defaultdict(list)
    for patient, group in groups.items():
        members[group].append(patient)
    for names in members.values():
        if len(names) > 1:
            say(f"{', '.join(names)} are linked (brainseg check says how): kept on one side")
    return groups


def counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Patients and slices of each part, or of the test part and each fold."""
    part = table["part"]
    if "fold" in table:
        part = part.where(table["fold"] < 0, "fold " + table["fold"].astype(str))
    order = sorted(set(part), key=lambda name: (len(name), name))  # fold 2 before fold 10
    rows = {str(name): table[part == name] for name in order}
    return {
        name: {"patients": int(own["patient"].nunique()), "slices": len(own)}
        for name, own in rows.items()
    }
