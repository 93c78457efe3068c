"""Whom a model is scored on: the locked patients of a run, or an outside data set.

What can be refused is refused here, before an opening is recorded: an opening that shows nothing
would be spent for nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd

from brainseg.data.address import is_address
from brainseg.data.channels import flair_channel, recorded_names
from brainseg.data.dataset import read_data
from brainseg.data.fingerprint import file_contents, fingerprint, listed_files
from brainseg.data.persons import person
from brainseg.data.quality.duplicates import group_patients, hash_slices
from brainseg.data.readers.images import read_image, require_same_size
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.paths import JOINT
from brainseg.data.readers.problems import counted, some
from brainseg.data.remote import local_copy
from brainseg.data.table import CUT, read_slices
from brainseg.inference.evaluate.overlap import refuse_overlap
from brainseg.process import Log
from brainseg.records.cache import default_cache
from brainseg.records.files import Unreadable, read_json
from brainseg.records.run import Run

LOCKED = "locked"


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Patients with masks whom no model of the run was trained on.

    Attributes:
        name: "locked", or the folder's name of an outside data set.
        table: of their slices, see data/table.py, with a column person: scans of one person are
            drawn together.
        root: the folder of the files on this machine.
        fingerprint: of these patients alone.
        bad: patients that cannot be scored, and why; only of an outside data set.
        notes: what a reader of the scores must know.
    """

    name: str
    kind: Literal["locked", "outside"]
    table: pd.DataFrame
    root: Path
    fingerprint: str
    bad: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def patients(self) -> int:
        return int(self.table["patient"].nunique())

    def digests(self) -> list[str]:
        """16 hex digits of each patient's image files: the same under other names."""
        return _digests(self.table, file_contents(self.table, self.root))


def locked_digests(run: Run, slices: pd.DataFrame) -> list[str]:
    """The digests of a run's locked patients, from its records; none where those are of old.

    Args:
        slices: its table of them.
    """
    try:
        return _digests(slices[slices["part"] == "test"], read_json(run.files, kind=dict))
    except (Unreadable, OSError, KeyError):
        return []


def _digests(table: pd.DataFrame, contents: Mapping[str, str]) -> list[str]:
    digests = []
    for _, images in table.groupby("patient", sort=False)["image"]:
        hashes = sorted({contents[name] for image in images for name in image.split(JOINT)})
        digests.append(hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16])
    return digests


@dataclass(frozen=True, kw_only=True)
class Channels:
    """How many channels an image must have, and the model that was trained on them."""

    number: int
    model: str

    def require(self, image: str, actual: int) -> None:
        """Refuse an image with another number of them.

        Raises:
            ValueError: says both.
        """
        if actual != self.number:
            raise ValueError(
                f"the images must have the {counted(self.number, 'channel')} that {self.model} was "
                f"trained on, {image} has {actual}; name data with the same channels"
            )


def locked_cohort(run: Run, channels: Channels, log: Log) -> Cohort:
    """The locked patients of a run, whose files are as they were when it started.

    Raises:
        ValueError: it has none; a file of theirs is missing, has changed, cannot be read, or has
            other channels.
    """
    settings, table = run.settings(), read_slices(run.slices)
    locked = table[table["part"] == "test"].reset_index(drop=True)
    if locked.empty:
        raise ValueError(
            f"locked patients must be set aside when a sweep starts, {run.path} was started with "
            "--test 0 and has none; name an outside data set with --data, or search again with "
            "--test 0.1"
        )
    place = settings["data"]
    root = local_copy(place["root"], default_cache(), copy=place.get("copy", ""), log=log)
    if not root.is_dir():
        raise ValueError(
            f"the locked patients must be where the run's data were, {root} is no folder any more; "
            "mount or restore it, or repeat the sweep's command with --data where they lie now, "
            "which records it"
        )
    _require_unchanged(run, settings, table, locked, root)
    bad = _bad_patients(locked, root, channels)
    for why in bad.values():
        raise ValueError(why)
    if "person" not in locked:
        locked = locked.assign(person=locked["patient"])
    notes = []
    if shared := set(locked["patient"]) & set(table.loc[table["part"] != "test", "patient"]):
        notes.append(
            f"{counted(len(shared), 'locked patient')} also trained: the split is by slices, which "
            "leaks, so these scores say little about new patients."
        )
    return Cohort(
        name=LOCKED,
        kind="locked",
        table=locked,
        root=root,
        fingerprint=fingerprint(locked, root),
        notes=tuple(notes),
    )


def outside_cohort(
    run: Run, channels: Channels, data: str, layout: str, label: str, log: Log
) -> Cohort:
    """An outside data set; patients that cannot be scored are left out, and named.

    Raises:
        ValueError: no known layout, no masks, nobody who can be read, or patients of the run.
    """
    other = read_data(data, layout, log, label)
    table = other.table
    notes = require_alike(recorded_names(run.settings()["data"]), other.channels, data)
    bad = _bad_patients(table, other.root, channels)
    table = table[~table["patient"].isin(list(bad))].reset_index(drop=True)
    if table.empty:
        raise ValueError(next(iter(bad.values())))
    refuse_overlap(run, table, other.root, data)
    groups = group_patients(table, hash_slices(table, other.root))
    known = read_slices(run.slices)["patient"]
    return Cohort(
        name=_folder_name(data),
        kind="outside",
        table=table.assign(person=table["patient"].map(groups)),
        root=other.root,
        fingerprint=fingerprint(table, other.root),
        bad=bad,
        notes=(*notes, *_namesakes(table["patient"].unique().tolist(), known)),
    )


def require_alike(trained: Sequence[str], given: Sequence[str], data: str) -> list[str]:
    """Refuse channels in another order than the run's; a note where only their names differ.

    Raises:
        ValueError: the same names in another order, or FLAIR elsewhere.
    """
    ours, theirs = ([name.casefold() for name in names] for names in (trained, given))
    if not ours or not theirs or ours == theirs:
        return []
    shown = f"{', '.join(trained)}, those of {data} are {', '.join(given)}"
    flair = [flair_channel(names, len(names)) for names in (trained, given)]
    moved = None not in flair and flair[0] != flair[1]
    if len(ours) != len(theirs) or sorted(ours) == sorted(theirs) or moved:
        raise ValueError(
            f"the channels must be those that the run was trained on, {shown}; give the same ones "
            "in the same order, as with a manifest (image files joined by |)"
        )
    return [f"The channels have other names: trained on {shown}. They were taken in this order."]


def _require_unchanged(
    run: Run, settings: dict[str, Any], table: pd.DataFrame, locked: pd.DataFrame, root: Path
) -> None:
    """Refuse locked files that are not what the run recorded."""
    now = file_contents(locked, root)
    try:
        recorded = read_json(run.files, kind=dict)
    except Unreadable:  # of an older version: the data are known as a whole alone
        known = str(settings["data"]["fingerprint"])
        changed = ["some"] if fingerprint(table, root, like=known) != known else []
    else:
        changed = [name for name in listed_files(locked) if recorded.get(name) != now[name]]
    if changed:
        raise ValueError(
            f"the files of locked patients must be as they were when {run.path} started, under "
            f"{root} these have changed: {some(changed)}; restore them"
        )


def _bad_patients(table: pd.DataFrame, root: Path, channels: Channels) -> dict[str, str]:
    """The patients of whom a file cannot be read, or does not fit others or the model, and why."""
    bad: dict[str, str] = {}
    for patient, rows in table.groupby("patient", sort=False):
        kinds = set()
        try:
            for row in rows.to_dict("records"):
                index, axis, orientation = (row[name] for name in CUT)
                image_HWC = read_image(root, row["image"], index, axis, orientation)
                mask_HW = read_mask(root, row["mask"], index, axis, orientation, row["label"])
                require_same_size(row["image"], image_HWC, row["mask"], mask_HW)
                kinds.add((image_HWC.dtype, image_HWC.shape[2]))
                if len(kinds) > 1:
                    raise ValueError(
                        "the images of a patient must have one number type and as many channels, "
                        f"those of {patient} have several (see {row['image']}); export all alike"
                    )
                channels.require(row["image"], image_HWC.shape[2])
        except ValueError as error:
            bad[str(patient)] = str(error)
    return bad


def _namesakes(patients: Iterable[str], known: Iterable[str]) -> list[str]:
    """That patients have names of the run's, if so: other people may have them in a hospital."""
    ours = {person(name) for name in known}
    if not (alike := [name for name in patients if person(name) in ours]):
        return []
    return [
        f"{counted(len(alike), 'patient')} of this data set "
        f"{'has the name' if len(alike) == 1 else 'have names'} of the run's patients "
        f"({some(alike)}). No image is the same; if they are the same people, these scores are "
        "too high."
    ]


def _folder_name(data: str) -> str:
    """What the results of an outside data set are called: the last part of its path."""
    last = PurePosixPath(data.rstrip("/")).name if is_address(data) else Path(data).resolve().name
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in last).strip(".") or "data"
    return f"outside-{name}" if name == LOCKED else name
