"""Whether a trial that was trained once more is the one that was recorded.

On one kind of machine, with the same code and as many threads, all numbers must be the same to the
bit. Elsewhere sums are rounded in another order, and training amplifies that: the first epoch's
loss still agrees, later ones drift apart as two seeds do, only less.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import torch

from brainseg.inference.reproduce.facts import Facts
from brainseg.inference.reproduce.record import Record, read_patients
from brainseg.inference.trained import read_network
from brainseg.records.files import read_text
from brainseg.records.rows import EpochRow
from brainseg.records.trial_folder import TrialDir

FIRST_LOSS = 0.003  # share by which the first epoch's mean loss may differ, see docs/log.md
LAST_LOSS = 0.2  # of a refit, which has no score: the last epoch's
MEAN_DICE = 0.05  # by which the Dice of a patient may differ, in the mean over patients
PARTS = "micro_batch"  # a column of rows
DETAILS = re.compile(  # of a failure, that roundings decide: numbers, tensors and slices
    r"[-+]?\d[\d.]*(e[-+]?\d+)?|\b[-+]?(nan|inf)\b|'[^']*'|(?<=on the batch of ).*", re.IGNORECASE
)
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
    """Rows, tables and, of a trial that failed, its failure.

    Raises:
        ValueError: no epoch was finished here, of a trial that has some.
    """
    rows, again = record.rows, copy.rows()
    failure = read_text(copy.failure).strip() if copy.failure.exists() else ""
    if rows and not again:
        raise ValueError(
            f"{record.trial} cannot be compared: its record has {len(rows)} epochs, and here it "
            f"ended before its first: {failure or 'nothing says why'}"
        )
    first = _first_other(rows, again, (*OF_SPEED, *[PARTS] * facts.smaller_parts))
    lines = [_of_rows(rows, again, first)] if rows else []
    exact = first is None and failure == record.failure
    close = len(rows) == len(again) and _kind(failure) == _kind(record.failure)
    close = close and (not rows or abs(_loss_change(rows, again)) <= FIRST_LOSS)
    if rows and not record.was_validated:
        same = _same_network(record, copy)
        exact = exact and same is not False
        close = close and abs(_loss_change(rows, again, at=-1)) <= LAST_LOSS
        lines.append(_of_network(same))
    elif rows:
        tables = _tables(record, copy)
        exact, close = exact and tables.same, close and tables.mean <= MEAN_DICE
        lines.append(_of_tables(tables, "last" if record.scored_last else "best"))
    if failure or record.failure:
        lines.append(_of_failures(record.failure, failure))
    lines += _of_facts(facts)
    matches = exact or (close and not facts.are_same)
    limits = _limits(record) if rows else ""
    conclusion = "matches to the bit" if exact else _conclusion(matches, facts, limits)
    return Verdict(matches=matches, to_the_bit=exact, lines=(*lines, conclusion))


def _limits(record: Record) -> str:
    first = f"first loss within {FIRST_LOSS:.1%}"
    if not record.was_validated:
        return f"{first}, last loss within {LAST_LOSS:.0%}; there is no Dice to compare"
    return f"{first}, Dice of a patient within {MEAN_DICE} in the mean"


def _conclusion(matches: bool, facts: Facts, limits: str) -> str:
    """Of what is not the same to the bit.

    Args:
        limits: "" where a failure is all that there is to compare.
    """
    if matches:
        within = f"within the tolerance ({limits})"
        return f"matches {within if limits else 'in how it failed, before its first epoch ended'}"
    if facts.are_same:
        return "does not match: on the same kind of machine every bit must be the same"
    return f"does not match{f': beyond the tolerance ({limits})' if limits else ''}"


def _kind(failure: str) -> str:
    """A failure without what may be another on another machine."""
    return DETAILS.sub("#", failure)


def _numbers(row: EpochRow, passed_over: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in row.to_json().items() if name not in passed_over}


def _first_other(
    rows: Sequence[EpochRow], again: Sequence[EpochRow], passed_over: Collection[str]
) -> int | None:
    """The first epoch whose row differs in a column that both have; None if none does."""
    for number in range(max(len(rows), len(again))):
        if number >= min(len(rows), len(again)):
            return number + 1
        before, now = (_numbers(side[number], passed_over) for side in (rows, again))
        if any(before[name] != now[name] for name in before.keys() & now.keys()):
            return number + 1
    return None


def _loss_change(rows: Sequence[EpochRow], again: Sequence[EpochRow], at: int = 0) -> float:
    """Of the first or the last epoch, as a share of the recorded one."""
    before, now = rows[at].train_loss, again[at].train_loss if again else None
    if before is None or now is None:
        return 0.0 if before is None else nan
    return (now - before) / before if before else now


def _same_network(record: Record, copy: TrialDir) -> bool | None:
    """Whether each has the same weights at its last epoch; None if the record does not reach it."""
    if (before := record.network) is None:
        return None
    if not copy.last_network.is_file():
        return False
    now, _ = read_network(copy.last_network)
    return before.keys() == now.keys() and all(
        torch.equal(before[name], now[name]) for name in before
    )


def _tables(record: Record, copy: TrialDir) -> Tables:
    now = copy.path / record.table.name
    if record.patients is None or not now.is_file():
        return Tables(same=False, patients=0, mean=nan, greatest=nan, of="")
    texts = [read_text(path) for path in (record.table, now)]
    tables = [record.patients, read_patients(now)]
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


def _of_network(same: bool | None) -> str:
    if same is None:
        return "nobody validated it, and it did not end its last epoch: its losses are all it left"
    return f"nobody validated it; its network is {'the same' if same else 'another'}"


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
