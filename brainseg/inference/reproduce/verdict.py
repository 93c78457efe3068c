"""Whether a trial that was trained once more is the one that was recorded.

On one kind of machine, with the same code and as many threads, all numbers must be the same to the
bit. Elsewhere sums are rounded in another order, and training amplifies that: the first epoch's
loss still agrees, later ones drift apart as two seeds do, only less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from math import nan
from typing import Any

import pandas as pd
import torch

from brainseg.inference.reproduce.facts import Facts
from brainseg.inference.reproduce.record import Record
from brainseg.records.files import read_text
from brainseg.records.rows import EpochRow
from brainseg.records.trial_folder import TrialDir
from brainseg.training.keeping.checkpoint import load

FIRST_LOSS = 0.003  # share by which the first epoch's mean loss may differ, see docs/log.md
LAST_LOSS = 0.2  # of a refit, which has no score: the last epoch's
MEAN_DICE = 0.05  # by which the Dice of a patient may differ, in the mean over patients
OF_SPEED = (  # columns of a row that no two trainings share
    *("seconds", "start_seconds", "train_seconds", "score_seconds"),
    *("images_per_second", "milliseconds_per_image", "repeats"),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the comparison.

    Attributes:
        matches: what the command's status says.
        to_the_bit: whether all rows and the table are the same.
        lines: all of it, in words.
    """

    matches: bool
    to_the_bit: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """How far two tables of patients are apart.

    Attributes:
        mean, greatest: absolute difference of a patient's Dice; NaN with other patients.
    """

    same: bool
    patients: int
    mean: float
    greatest: float
    of: str  # the patient with the greatest


def compare(record: Record, copy: TrialDir, facts: Facts) -> Verdict:
    """Rows, tables and, of a trial that failed, its failure."""
    rows, again = record.rows, copy.rows()
    first = _first_other(rows, again)
    failure = read_text(copy.failure).strip() if copy.failure.exists() else ""
    lines = [_of_rows(rows, again, first)] if rows else []
    exact = first is None and failure == record.failure
    close = len(rows) == len(again) and bool(failure) == bool(record.failure)
    close = close and (not rows or abs(_loss_change(rows, again)) <= FIRST_LOSS)
    if rows and not record.was_validated:
        same = _same_network(record, copy)
        exact = exact and same
        close = close and abs(_loss_change(rows, again, at=-1)) <= LAST_LOSS
        lines.append(f"nobody validated it; its network is {'the same' if same else 'another'}")
    elif rows:
        tables = _tables(record, copy)
        exact, close = exact and tables.same, close and tables.mean <= MEAN_DICE
        lines.append(_of_tables(tables, "last" if record.scored_last else "best"))
    if failure or record.failure:
        lines.append(_of_failures(record.failure, failure))
    lines += _of_facts(facts)
    matches = exact or (close and not facts.are_same)
    return Verdict(
        matches=matches, to_the_bit=exact, lines=(*lines, _conclusion(exact, matches, facts))
    )


def _conclusion(exact: bool, matches: bool, facts: Facts) -> str:
    limits = f"first loss within {FIRST_LOSS:.1%}, Dice of a patient within {MEAN_DICE} in the mean"
    if exact:
        return "matches to the bit"
    if matches:
        return f"matches within the tolerance ({limits})"
    if facts.are_same:
        return "does not match: on the same kind of machine every bit must be the same"
    return f"does not match: beyond the tolerance ({limits})"


def _numbers(row: EpochRow) -> dict[str, Any]:
    return {name: value for name, value in row.to_json().items() if name not in OF_SPEED}


def _first_other(rows: Sequence[EpochRow], again: Sequence[EpochRow]) -> int | None:
    """The first epoch whose row differs in a column that both have; None if none does."""
    for number in range(max(len(rows), len(again))):
        if number >= min(len(rows), len(again)):
            return number + 1
        before, now = _numbers(rows[number]), _numbers(again[number])
        if any(before[name] != now[name] for name in before.keys() & now.keys()):
            return number + 1
    return None


def _loss_change(rows: Sequence[EpochRow], again: Sequence[EpochRow], at: int = 0) -> float:
    """Of the first or the last epoch, as a share of the recorded one."""
    before, now = rows[at].train_loss, again[at].train_loss if again else None
    if before is None or now is None:
        return 0.0 if before is None else nan
    return (now - before) / before if before else now


def _same_network(record: Record, copy: TrialDir) -> bool:
    """Whether each kept the same weights of its last epoch."""
    files = [folder.last_network for folder in (record.folder, copy)]
    if not all(file.is_file() for file in files):
        return False
    before, now = (load(file)["network"] for file in files)
    return before.keys() == now.keys() and all(
        torch.equal(before[name], now[name]) for name in before
    )


def _tables(record: Record, copy: TrialDir) -> Tables:
    name = (record.folder.last if record.scored_last else record.folder.patients).name
    before, now = record.folder.path / name, copy.path / name
    if not now.is_file():
        return Tables(same=False, patients=0, mean=nan, greatest=nan, of="")
    texts = [read_text(path) for path in (before, now)]
    tables = [pd.read_csv(StringIO(text), dtype={"patient": str}) for text in texts]
    dice = [table.set_index("patient")["dice"] for table in tables]
    if sorted(dice[0].index) != sorted(dice[1].index):
        return Tables(same=False, patients=len(dice[0]), mean=nan, greatest=nan, of="")
    change = (dice[1] - dice[0]).abs()
    return Tables(
        same=texts[0] == texts[1],
        patients=len(change),
        mean=float(change.mean()),
        greatest=float(change.max()),
        of=str(change.idxmax()),
    )


def _of_rows(rows: Sequence[EpochRow], again: Sequence[EpochRow], first: int | None) -> str:
    if first is None:
        return f"{len(rows)} epochs: every score and loss is the same"
    change = _loss_change(rows, again)
    return (
        f"{len(rows)} epochs, {len(again)} trained again: the rows differ from epoch {first} on; "
        f"the first epoch's loss by {abs(change):.2g} of it"
    )


def _of_tables(tables: Tables, at: str) -> str:
    if tables.mean != tables.mean:
        return f"table of the {at} epoch: it has other patients, or there is none"
    if tables.same:
        return f"table of the {at} epoch: the same for all {tables.patients} patients"
    return (
        f"table of the {at} epoch, {tables.patients} patients: Dice differs by {tables.mean:.4f} "
        f"in the mean, by {tables.greatest:.4f} at most ({tables.of})"
    )


def _of_failures(recorded: str, failure: str) -> str:
    if not recorded:
        return f"it failed here, which is not in the record: {failure}"
    if not failure:
        return f"it did not fail again; recorded was: {recorded}"
    if failure == recorded:
        return f"it failed again in the same way: {failure}"
    return f"it failed again, in another way: {failure}; recorded was: {recorded}"


def _of_facts(facts: Facts) -> list[str]:
    if facts.are_same:
        return ["the same kind of machine, code and number of threads"]
    lines = [f"differs from the record: {'; '.join(facts.differing)}"] * bool(facts.differing)
    return lines + [f"unknown: {'; '.join(facts.unknown)}"] * bool(facts.unknown)
