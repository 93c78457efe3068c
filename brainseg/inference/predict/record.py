"""What a folder of predictions says of itself, so that what is there and whole stays.

predictions.json   the model, the options, the command; at the end how much was done
predictions.jsonl  a line for each mask, appended once a case is whole
predictions.csv    the same as a table; it is a manifest of images and masks
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainseg.data.readers.contents import contents, digest
from brainseg.data.readers.paths import JOINT
from brainseg.data.table import CUT, MILLIMETRES
from brainseg.evaluation.metrics import dice
from brainseg.inference.description import HALF
from brainseg.inference.model import Model
from brainseg.inference.predict.options import Options
from brainseg.inference.predict.writing import Row
from brainseg.records.fields import Fields
from brainseg.records.files import (
    Unreadable,
    append_line,
    read_json,
    read_lines,
    write_json,
    write_text,
)
from brainseg.records.locks import Held, locked

FORMAT = 1
FACTS, LINES, TABLE, LOCK = "predictions.json", "predictions.jsonl", "predictions.csv", ".lock"
NEW_FOLDER = "name a new folder, or use --overwrite"
LEFT = re.compile(r"\..+\.\d+")  # what a killed process leaves of a file, see files.replacing
OPTIONAL = ("slice", "ml", "counts", "counts_at_half")
LINE = Fields(
    tuple(name for name in Row.__dataclass_fields__ if name not in OPTIONAL),
    {"image": str, "mask": str, "case": str, "files": dict, "input": str},
)
LIBRARIES = ("brainseg", "torch", "numpy", "segmentation-models-pytorch")


class Record:
    """The record in a folder of predictions.

    Attributes:
        kept: rows of an earlier run, by case, whose files are whole.
        earlier: every row of an earlier run, also of files that are not there any more.
    """

    def __init__(self, out: Path, facts: Mapping[str, Any]) -> None:
        self.out, self.facts = out, dict(facts)
        self.kept: dict[str, list[Row]] = {}
        self.earlier: list[Row] = []

    def begin(self, cases: Collection[str], *, overwrite: bool) -> None:
        """Make the folder one of predictions of ``cases``.

        Raises:
            ValueError: it holds other files, or predictions of another model, with other options,
                or of other cases alone: their masks are not replaced.
        """
        earlier = self._earlier()
        if earlier and (other := differences(earlier, self.facts)) and not overwrite:
            raise ValueError(f"{self.out} holds predictions {other}; {NEW_FOLDER}")
        rows = self._rows()
        if rows and not overwrite and not {row.case for row in rows}.intersection(cases):
            raise ValueError(
                f"{self.out} holds predictions of other images, such as {rows[0].case}; "
                f"{NEW_FOLDER}"
            )
        if overwrite:
            self._remove([name for row in rows for name in row.files] + [LINES, TABLE])
            rows = []
        self.earlier = rows
        self._remove_drafts()
        names = [name for row in rows for name in row.files]
        held = contents(self.out, names)
        by_case: dict[str, list[Row]] = {}
        for row in rows:  # of a case that was done twice the later rows count
            group = by_case.setdefault(row.case, [])
            if group and group[0].input != row.input:
                group.clear()
            group[:] = [other for other in group if other.image != row.image] + [row]
        self.kept = {
            case: group
            for case, group in by_case.items()
            if all(held[name] == content for row in group for name, content in row.files.items())
        }
        write_json(self.out / FACTS, self.facts | {"complete": False})

    def _earlier(self) -> dict[str, Any] | None:
        """What the folder holds of an earlier run; ValueError where that is something else."""
        if (self.out / FACTS).exists():
            fields = Fields(("format", "model", "options"), {"model": dict, "options": dict})
            held: dict[str, Any] = read_json(
                self.out / FACTS, kind=dict, fields=fields, remedy=NEW_FOLDER
            )
            return held
        if others := sorted(p.name for p in self.out.iterdir() if p.name != LOCK):
            raise ValueError(
                f"predictions must have a folder of their own, {self.out} holds "
                f"{', '.join(others[:3])}{' and more' * (len(others) > 3)}; name a new folder"
            )
        return None

    def _rows(self) -> list[Row]:
        try:
            lines = read_lines(self.out / LINES, LINE)
        except Unreadable:  # all is computed again
            (self.out / LINES).unlink()
            return []
        names = list(Row.__dataclass_fields__)
        held: list[dict[str, Any]] = [{name: line.get(name) for name in names} for line in lines]
        return [Row(**values) for values in held]

    def remove_stale(self, kept: Iterable[Row]) -> None:
        """Remove what an earlier run wrote but for files of the rows that are ``kept``.

        A mask that stayed of an image which now fails, or is gone, would look like its answer.
        """
        names = {name for row in kept for name in row.files}
        self._remove([name for row in self.earlier for name in row.files if name not in names])

    def _remove(self, names: Iterable[str]) -> None:
        """Remove files of this folder, and nothing outside it whatever the record names."""
        out = self.out.resolve()
        for path in (self.out / name for name in names):
            if path.parent.resolve().is_relative_to(out) and (path.is_file() or path.is_symlink()):
                path.unlink()

    def _remove_drafts(self) -> None:
        for path in self.out.rglob(".*"):
            if LEFT.fullmatch(path.name) and path.is_file():
                with suppress(OSError):
                    path.unlink()

    def add(self, rows: Sequence[Row]) -> None:
        append_line(self.out / LINES, *(row.to_json() for row in rows))

    def end(self, rows: Sequence[Row], totals: Mapping[str, Any]) -> None:
        """Write the table, and what became of all."""
        write_text(self.out / TABLE, table_of(rows).to_csv(index=False))
        write_json(self.out / FACTS, self.facts | {"complete": True} | dict(totals))


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make the folder, and keep other processes from writing into it.

    Raises:
        ValueError: another process does, or the folder cannot be made.
    """
    if not out.parent.is_dir():
        raise ValueError(f"{out} must lie in a folder that exists; make {out.parent} first")
    if out.exists() and not out.is_dir():
        raise ValueError(f"predictions are written into a folder, {out} is a file; name another")
    is_new = not out.exists()
    out.mkdir(exist_ok=True)
    try:
        with locked(out / LOCK, wait=False):
            try:
                yield
            finally:
                if is_new:
                    _remove_unless_used(out)
    except Held as held:
        raise ValueError(
            f"{out} is being written to by {held.holder}; wait for its end, or name another folder"
        ) from None


def _remove_unless_used(out: Path) -> None:
    """Remove a folder that holds nothing but the lock, which the caller must hold.

    Otherwise the lock's file stays: who removes it lets a second process in beside its holder.
    """
    with suppress(OSError):
        if [path.name for path in out.iterdir()] == [LOCK]:
            (out / LOCK).unlink()
            out.rmdir()


def earlier_precision(out: Path) -> Literal["auto", "float32", "bfloat16"]:
    """That of predictions which the folder holds, so that all are of one; auto if none."""
    try:
        precision = read_json(out / FACTS, kind=dict).get("options", {}).get("precision")
    except (Unreadable, AttributeError):
        return "auto"
    return precision if precision in ("float32", "bfloat16") else "auto"


def facts_of(model: Model, options: Options, command: str) -> dict[str, Any]:
    """What predictions.json says from the start."""
    described = model.description
    return {
        "format": FORMAT,
        "model": {
            "name": described.name,
            "kind": described.kind,
            "source": str(model.source),
            "digest": model_digest(model),
        },
        "options": options.to_json(),
        "thresholds": {
            "used": options.threshold,
            "of_model": described.threshold.value,
            "chosen_on": described.threshold.chosen_on,
            "default": HALF,
        },
        "versions": {name: version(name) for name in LIBRARIES},
        "command": command,
        "not_a_medical_device": True,
    }


def model_digest(model: Model) -> str:
    """A SHA-256 of all tensors and of the configuration: what decides the probabilities."""
    hashed = hashlib.sha256(repr(sorted(model.description.config.items())).encode())
    for network in model.networks:
        for name, tensor in sorted(network.state_dict().items()):
            hashed.update(name.encode())
            hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def differences(earlier: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """What an earlier run did otherwise, in words; "" if nothing."""
    if earlier["model"].get("digest") != facts["model"]["digest"]:
        return f"of another model ({earlier['model'].get('name')})"
    before, now = earlier["options"], facts["options"]
    other = [name for name in now if before.get(name) != now[name]]
    words = [f"{name.replace('_', '-')} {before.get(name)}, not {now[name]}" for name in other]
    return f"with other options ({'; '.join(words)})" if words else ""


def input_digests(root: Path, by_case: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Of each case what it is made from: files by their contents, places in them; "" if unknown."""
    joined = {
        case: [
            name for joint in (*rows["image"], *rows["mask"]) for name in joint.split(JOINT) if name
        ]
        for case, rows in by_case.items()
    }
    held = contents(root, [name for names in joined.values() for name in names])
    columns = ["image", "mask", "slice", "label", *CUT, *MILLIMETRES]
    digests = {}
    for case, rows in by_case.items():
        hashes = [held[name] for name in joined[case]]
        places = rows[columns].to_numpy().tolist()
        digests[case] = digest(places, hashes) if all(hashes) else ""
    return digests


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """predictions.csv: a row for each mask, in columns that people read."""
    return pd.DataFrame(
        [
            {
                "image": row.image,
                "mask": row.mask,
                "patient": row.case,
                "slice": "" if row.slice is None else row.slice,
                "slices": row.slices,
                "tumour_pixels": row.tumour_pixels,
                "tumour_pixels_at_0.5": row.tumour_pixels_at_half,
                "ml": "" if row.ml is None else round(row.ml, 4),
                "largest_probability": round(row.largest_probability, 4),
                "dice": _dice(row.counts),
                "dice_at_0.5": _dice(row.counts_at_half),
            }
            for row in rows
        ]
    )


def _dice(counts: list[int] | None) -> float | str:
    return "" if counts is None else round(float(dice(np.array(counts))), 4)
