"""Cases of an input that the model's run has already: locked patients, and those that trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from brainseg.data.readers.contents import contents
from brainseg.data.readers.paths import JOINT
from brainseg.data.table import read_slices
from brainseg.inference.model import Model
from brainseg.records.files import Unreadable, read_json
from brainseg.records.run import Run


@dataclass(frozen=True)
class Known:
    """Cases by what the run did with their files.

    Attributes:
        locked: it set them aside; who scores them looks at them, which is an opening.
        trained: it trained on them, or chose by them.
    """

    locked: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)


def known_cases(model: Model, by_case: Mapping[str, pd.DataFrame], root: Path) -> Known:
    """The cases whose image files, by their contents, are in the records of the model's run.

    A bundle has no such records, nor have the oldest runs.
    """
    run = Run(model.source)
    if not (run.sweep.exists() and run.files.exists() and run.slices.exists()):
        return Known()
    try:
        recorded = read_json(run.files, kind=dict)
    except Unreadable:
        return Known()
    part_of = _parts(read_slices(run.slices), recorded)
    names = {case: _files(rows["image"]) for case, rows in by_case.items()}
    held = contents(root, [name for files in names.values() for name in files])
    known = Known()
    for case, files in names.items():
        parts = {part_of[held[name]] for name in files if held[name] in part_of}
        if "test" in parts:
            known.locked.add(case)
        elif parts:
            known.trained.add(case)
    return known


def _parts(slices: pd.DataFrame, recorded: Mapping[str, str]) -> dict[str, str]:
    """The part of each file by its content, but for those of several patients, such as blanks."""
    owners: dict[str, set[tuple[str, str]]] = {}
    for patient, part, image in slices[["patient", "part", "image"]].itertuples(index=False):
        for name in image.split(JOINT):
            if content := recorded.get(name):
                owners.setdefault(content, set()).add((str(patient), str(part)))
    return {content: next(iter(of))[1] for content, of in owners.items() if len(of) == 1}


def _files(images: "pd.Series[str]") -> list[str]:
    return sorted({name for image in images.unique() for name in image.split(JOINT)})
