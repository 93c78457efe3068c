"""Predicts all cases of an input into a folder: reads ahead, computes, writes behind."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainseg.data.formats.for_model import Images
from brainseg.data.readers.decode import DECODERS
from brainseg.evaluation.metrics import patient_table
from brainseg.inference.model import Model
from brainseg.inference.predict.known import known_cases
from brainseg.inference.predict.options import Options
from brainseg.inference.predict.pipeline import AHEAD, CASES, Case, Outcome, cases_of, predicted
from brainseg.inference.predict.record import Record, facts_of, input_digests
from brainseg.inference.predict.writing import Row, Writer


@dataclass(frozen=True)
class Done:
    """What became of a case.

    Attributes:
        rows: of its masks; [] if it could not be predicted.
        problem: why not, or why it could not be scored.
        kept: it was there and whole already.
    """

    case: str
    rows: list[Row]
    problem: str = ""
    kept: bool = False


@dataclass
class Work:
    """All that is to be done.

    Attributes:
        done: what was, so far.
        known: cases that the model's run has.
        locked: cases with masks that are not scored, for they are its locked patients.
    """

    model: Model
    images: Images
    out: Path
    options: Options
    command: str
    done: list[Done] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cases = cases_of(self.images.table, self.images.root)
        grouped = self.images.table.groupby("patient", sort=False)
        self.by_case: dict[str, pd.DataFrame] = {str(case): rows for case, rows in grouped}
        self.known = known_cases(self.model, self.by_case, self.images.root)
        self.locked = [
            case for case in self.by_case if case in self.known.locked and self._has_masks(case)
        ]
        for case in self.locked:  # their masks are not looked at
            self.by_case[case] = self.by_case[case].assign(mask="")
        self.record = Record(self.out, facts_of(self.model, self.options, self.command))

    @property
    def rows(self) -> list[Row]:
        """Of all masks, in the order of the images."""
        place = {case.name: number for number, case in enumerate(self.cases)}
        in_order = sorted(self.done, key=lambda done: place[done.case])
        return [row for done in in_order for row in done.rows]

    @property
    def failed(self) -> list[Done]:
        return [done for done in self.done if done.problem]

    def run(self) -> Iterator[Done]:
        """Do it, case by case; what is there and whole first. ``record.begin`` comes before.

        Raises:
            OSError: the folder cannot be written to, or is full.
        """
        digests = input_digests(self.images.root, self.by_case)
        writer = Writer(self.images, self.out, self.options, self.model.channels)
        ready: list[Done] = []
        todo: list[Case] = []
        for case in self.cases:
            kept = self.record.kept.get(case.name, [])
            whole = {row.image for row in kept} == set(self.by_case[case.name]["image"])
            if self._has_masks(case.name) and any(row.counts is None for row in kept):
                kept = []  # why it could not be scored is said again
            clash = next((p[0] for p in case.places if p[0] in writer.clashes), "")
            if kept and whole and kept[0].input == digests[case.name] != "":
                ready.append(
                    Done(case.name, kept, writer.unscored(self.by_case[case.name]), kept=True)
                )
            elif clash:
                fault = f"those of {clash} and {writer.clashes[clash]} are one; rename an image"
                rule = "what is written must have names of its own"
                ready.append(Done(case.name, [], f"{rule}, {fault}"))
            else:
                todo.append(case)
        self.record.remove_stale(row for done in ready for row in done.rows)
        for done in ready:
            yield self._noted(done)
        outcomes = predicted(self.model, todo, flip=self.options.flip)
        for done in _written_behind(writer, outcomes, self.by_case, digests):
            if done.rows:
                self.record.add(done.rows)
            yield self._noted(done)
        self.record.end(self.rows, self.totals())

    def _has_masks(self, case: str) -> bool:
        return bool((self.by_case[case]["mask"] != "").all())

    @property
    def gone(self) -> list[str]:
        """Cases of an earlier run that the input has no more; their files were removed."""
        return sorted({row.case for row in self.record.earlier} - self.by_case.keys())

    def _noted(self, done: Done) -> Done:
        self.done.append(done)
        return done

    def totals(self) -> dict[str, Any]:
        """What predictions.json says at the end."""
        rows = self.rows
        volumes = [row.ml for row in rows if row.ml is not None]
        return {
            "input": str(self.images.root),
            "layout": self.images.layout,
            "cases": len(self.cases),
            "done": sum(bool(done.rows) for done in self.done),
            "slices": sum(row.slices for row in rows),
            "tumour_pixels": sum(row.tumour_pixels for row in rows),
            "tumour_pixels_at_half": sum(row.tumour_pixels_at_half for row in rows),
            "ml": sum(volumes) if rows and len(volumes) == len(rows) else None,
            "problems": [{"case": done.case, "why": done.problem} for done in self.failed]
            + [{"case": None, "why": str(problem)} for problem in self.images.problems],
            "locked": self.locked,
            "scores": self.scores().round(6).to_dict("records"),
        }

    def scores(self) -> pd.DataFrame:
        """Of each case with a true mask: its counts, Dice and IoU, and Dice at 0.5; by case."""
        scored = [row for row in self.rows if row.counts is not None]
        if not scored:
            return pd.DataFrame()
        counts = np.array([[*row.counts, *row.counts_at_half] for row in scored])  # type: ignore[misc]
        cases = [row.case for row in scored]
        table = patient_table(counts[:, :3], cases).drop(columns=["slices", "tumour_slices"])
        at_half = patient_table(counts[:, 3:], cases)
        return table.assign(dice_at_half=at_half["dice"])


def _written_behind(
    writer: Writer,
    outcomes: Iterator[tuple[Case, Outcome]],
    by_case: dict[str, pd.DataFrame],
    digests: dict[str, str],
) -> Iterator[Done]:
    """Write cases in threads while others are computed, in order."""

    def write(case: Case, outcome: Outcome) -> Done:
        if isinstance(outcome, ValueError):
            return Done(case.name, [], str(outcome))
        try:
            written = writer.write(case.name, by_case[case.name], outcome, digests[case.name])
        except ValueError as error:
            return Done(case.name, [], f"{error} ({case.name})")
        return Done(case.name, written.rows, written.problem)

    waiting: deque[tuple[int, Future[Done]]] = deque()
    with ThreadPoolExecutor(DECODERS) as pool:
        try:
            for case, outcome in outcomes:
                waiting.append((len(case.places), pool.submit(write, case, outcome)))
                while waiting and (
                    waiting[0][1].done()
                    or (len(waiting) > CASES and sum(size for size, _ in waiting) > AHEAD)
                ):
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
