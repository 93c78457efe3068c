"""Whether an outside data set holds patients of a run: by their pictures, or by their files."""

from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.data.fingerprint import file_contents
from brainseg.data.quality.duplicates import hash_slices, twins
from brainseg.data.readers.paths import JOINT
from brainseg.data.readers.problems import counted, some
from brainseg.data.remote import local_copy
from brainseg.data.table import read_slices
from brainseg.records.cache import default_cache
from brainseg.records.files import Unreadable, read_json
from brainseg.records.run import Run

OURS = "\0run's "  # before names of the run's patients: others may have the same


def refuse_overlap(run: Run, table: pd.DataFrame, root: Path, data: str) -> None:
    """Refuse patients whose pictures the run has, whether they trained, validated or are locked.

    Where the run's own files are at hand their pictures are compared, so that a copy in another
    format is found; else the content of files. Blank slices, which are alike everywhere, do not
    count.

    Raises:
        ValueError: names these patients.
    """
    try:
        shared = _same_pictures(run, table, root)
    except (ValueError, OSError):  # the run's files are away
        shared = _same_files(run, table, root)
    if not shared:
        return
    pairs = [f"{theirs} shows {ours}" for theirs, ours in shared.items()]
    raise ValueError(
        f"an outside data set must hold no patient of the run, in {data} "
        f"{counted(len(shared), 'patient')} of {run.path} "
        f"{'is' if len(shared) == 1 else 'are'} among them ({some(pairs)}); remove them, or name "
        "another data set"
    )


def _same_pictures(run: Run, table: pd.DataFrame, root: Path) -> dict[str, str]:
    """The patients that share a slice with one of the run's, and that one's name."""
    place, known = run.settings()["data"], read_slices(run.slices)
    where = local_copy(place["root"], default_cache(), copy=place.get("copy", ""))
    hashes = [*hash_slices(known, where), *hash_slices(table, root)]
    ours = known.assign(patient=OURS + known["patient"])
    both = pd.concat([ours, table], ignore_index=True)
    patients = both["patient"].tolist()
    pairs = [(patients[pair.first], patients[pair.second]) for pair in twins(both, hashes)]
    return {
        theirs: mine.removeprefix(OURS)
        for mine, theirs in pairs
        if mine.startswith(OURS) and not theirs.startswith(OURS)
    }


def _same_files(run: Run, table: pd.DataFrame, root: Path) -> dict[str, str]:
    """The patients that have an image file of the run's, by its content."""
    try:
        recorded = read_json(run.files, kind=dict)
    except Unreadable:  # no older run has one
        return {}
    owner = {
        recorded.get(name): str(patient)
        for patient, image in read_slices(run.slices)[["patient", "image"]].to_numpy()
        for name in image.split(JOINT)
    }
    contents = file_contents(table, root)
    hits = table["image"].map(
        lambda image: next(
            (owner[contents[name]] for name in image.split(JOINT) if contents[name] in owner), ""
        )
    )
    rows = table[hits != ""].reset_index(drop=True)
    contrasts = np.array([slice_hash.contrast for slice_hash in hash_slices(rows, root)])
    shown = rows["patient"][contrasts > 0] if len(rows) else rows["patient"]
    return {str(patient): hits[table["patient"] == patient].max() for patient in shown.unique()}
