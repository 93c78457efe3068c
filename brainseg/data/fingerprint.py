"""Whether two data sets are the same: by their slices and by the content of their files.

Where a folder lies and when its files were written does not matter: a copy, an archive unpacked
again and files that were touched are the same data.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from brainseg.data.labels import with_label
from brainseg.data.readers.contents import contents
from brainseg.data.readers.paths import JOINT
from brainseg.data.table import LATER, read_slices
from brainseg.records.files import Unreadable, read_json
from brainseg.records.run import Run

FORMAT = "xxh3:"  # before the digits; a fingerprint of older runs has none
IDENTITY = ("patient", "image", "mask", "index", "axis")  # columns that say what a slice is
SHOWN = 3  # names in a message, of each kind of difference


def fingerprint(table: pd.DataFrame, root: Path, *, like: str = "") -> str:
    """Return digits that change when a row's patient, its files' names or their content change.

    Args:
        like: a recorded fingerprint that this one is to be compared with. One without a format
            comes from a version that knew files by their size and time of modification.

    Raises:
        ValueError: a file that is listed is not there or cannot be read.
    """
    digest = hashlib.sha256()
    for column in IDENTITY:
        digest.update(repr(table[column].tolist()).encode())
    for column in LATER:
        if table[column].any():
            digest.update(repr((column, table[column].tolist())).encode())
    if like and not like.startswith(FORMAT):
        for name in listed_files(table):
            stat = _stat(root, name)
            digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
        return digest.hexdigest()[:16]
    for name, content in file_contents(table, root).items():
        digest.update(os.fsencode(f"{name}\0{content}\n"))
    return FORMAT + digest.hexdigest()[:16]


def listed_files(table: pd.DataFrame) -> list[str]:
    """The files of all slices, each once, in the order of the table."""
    joined = dict.fromkeys((*table["image"], *table["mask"]))
    return list(dict.fromkeys(name for files in joined for name in files.split(JOINT)))


def file_contents(table: pd.DataFrame, root: Path) -> dict[str, str]:
    """The hash of each file of all slices, as a run records it.

    Raises:
        ValueError: a file that is listed is not there or cannot be read.
    """
    known = contents(root, listed_files(table))
    for name, content in known.items():
        if not content:
            _stat(root, name)
            raise ValueError(f"every listed file must be readable, {root / name} is not; allow it")
    return known


def _stat(root: Path, name: str) -> os.stat_result:
    try:
        return os.stat(f"{root}/{name}")  # a third of the time of a Path
    except OSError as error:
        raise ValueError(
            f"every listed file must be there, {root / name} is not "
            f"({error.strerror}); restore it, or list the folder again"
        ) from error


def what_differs(run: Run, table: pd.DataFrame, root: Path) -> str:
    """How the data of ``table`` differ from those that ``run`` recorded; "" if they are the same.

    Raises:
        ValueError: as ``fingerprint``.
    """
    recorded = str(run.settings()["data"]["fingerprint"])
    if recorded == fingerprint(table, root, like=recorded):
        return ""
    before = read_slices(run.slices)
    try:
        files = read_json(run.files, kind=dict)
    except Unreadable:  # no older run has one
        files = {}
    known = {name: _text(files.get(name)) for name in listed_files(before)}
    if difference := _differing_files(known, file_contents(table, root)):
        return difference
    if _slices(before) == _slices(table):
        if recorded.startswith(FORMAT):
            return f"some files do, and {run.files} cannot be read, which would tell which"
        return (
            "sizes or times of files do, by which an older version of brainseg knew them "
            "(`cp -a` and `rsync -a` keep times)"
        )
    if (asked := with_label(_label(table))) != (given := with_label(_label(before))):
        return f"the same files are read {asked} instead of {given}"
    if _numbers(table) != _numbers(before):
        return f"the same files are read as {_numbers(table)} instead of {_numbers(before)}"
    return _other_roles(before, table) or "the same files are cut in another way"


def _other_roles(before: pd.DataFrame, now: pd.DataFrame) -> str:
    """Which images belong to another patient or mask than before, in words."""
    both = before.merge(now, on=["image", "index", "axis"], suffixes=("_before", "_now"))
    phrases = []
    for role in ("patient", "mask"):
        moved = both[both[f"{role}_before"] != both[f"{role}_now"]]
        pairs = dict.fromkeys(zip(moved[f"{role}_before"], moved[f"{role}_now"], strict=True))
        if pairs:
            first = ", ".join(f"{old} is now {new}" for old, new in list(pairs)[:SHOWN])
            more = ", ..." if len(pairs) > SHOWN else ""
            slices = f"{len(moved)} slice{'s' * (len(moved) > 1)}"
            phrases.append(f"the {role} of {slices} is another ({first}{more})")
    return "; ".join(phrases)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _slices(table: pd.DataFrame) -> list[list[object]]:
    return [table[column].tolist() for column in (*IDENTITY, *LATER)]


def _label(table: pd.DataFrame) -> str:
    return str(next(iter(table["label"]), ""))


def _numbers(table: pd.DataFrame) -> str:
    return f"{len(table)} slices of {table['patient'].nunique()} patients"


def _differing_files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which files are new, gone, renamed or changed, in words; a hash may be "", not known."""
    new = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    changed = [name for name in now if before.get(name) and before[name] != now[name]]
    unmatched: dict[str, list[str]] = {}
    for name in reversed(gone):
        unmatched.setdefault(before[name], []).append(name)
    renamed = {unmatched[now[name]].pop(): name for name in new if unmatched.get(now[name])}
    found = set(renamed.values())
    new = [name for name in new if name not in found]
    gone = [name for name in gone if name not in renamed]
    kinds = {
        "new": new,
        "gone": gone,
        "changed": changed,
        "renamed": [f"{old} to {name}" for old, name in renamed.items()],
    }
    return "; ".join(_counted(names, word) for word, names in kinds.items() if names)


def _counted(names: Collection[str], word: str) -> str:
    first = ", ".join(list(names)[:SHOWN])
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {'file is' if len(names) == 1 else 'files are'} {word} ({first}{more})"
