"""Cases from files to probabilities: threads read the next cases while the network computes.

Batches are filled across cases, so that single pictures go through the network together. What else
is in a batch changes roundings alone: a case has the probabilities of ``Model.of_slices`` to 1e-6,
and to the bit where its batches hold the same slices.

Shapes: H rows, W columns, N pixels a side in the network, C channels, B slices of a batch.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.pack.intensity import require_one_type
from brainseg.data.pack.square import from_square
from brainseg.data.readers.decode import DECODERS
from brainseg.data.readers.images import read_image, single_threaded
from brainseg.data.readers.problems import Problem, Refused, unreadable
from brainseg.data.table import CUT
from brainseg.inference.model import BATCH, Model, Prepared, Probabilities
from brainseg.training.guards import memory

AHEAD = 256  # slices that are read before the network needs them, as squares of its own size
CASES = 2  # cases that are, however many slices they have

Place = tuple[str, int, int, str]  # of a slice: its files, and table.CUT


@dataclass(frozen=True)
class Case:
    """What is predicted together: the slices of one patient, or one volume, or one picture.

    Attributes:
        places: of its slices, in files under ``root``.
    """

    name: str
    root: Path
    places: tuple[Place, ...]


Outcome = list[Probabilities] | ValueError  # of each slice (H, W); or why the case has none


def cases_of(table: pd.DataFrame, root: Path) -> list[Case]:
    """A case for each patient of a table of slices, in its order; see data/table.py."""
    return [
        Case(str(patient), root, tuple(rows[["image", *CUT]].itertuples(index=False, name=None)))
        for patient, rows in table.groupby("patient", sort=False)
    ]


def predicted(
    model: Model, cases: Iterable[Case], *, flip: bool = False, threads: int | None = None
) -> Iterator[tuple[Case, Outcome]]:
    """Each case, in order, and the probabilities of its slices at the size of its files.

    A case that cannot be read comes with its error instead; those after it are done.

    Args:
        flip: average over the image and its mirror image, left to right.
        threads: that read files; None: one for each CPU.
    """
    with single_threaded(), ThreadPoolExecutor(threads or DECODERS) as pool:
        try:
            yield from _in_batches(model, _read_ahead(pool, model, cases), flip=flip)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_case(model: Model, case: Case) -> Prepared:
    """A case as the network takes it.

    Raises:
        ValueError: a file that cannot be read, other channels than the model's, or several number
            types.
    """
    images: list[NDArray[Any]] = []
    for place in case.places:
        image_HWC = read_image(case.root, *place)
        _require_channels(model, place[0], image_HWC.shape[2])
        require_one_type(place[0], image_HWC.dtype, case.name, (images or [image_HWC])[0].dtype)
        images.append(image_HWC)
    return model.prepare(images)


def _require_channels(model: Model, image: str, channels: int) -> None:
    if channels != model.channels:
        names = ", ".join(model.description.channels)
        wanted = f"{model.channels} channel{'s' * (model.channels > 1)}"
        rule = f"an image for this model must have {wanted}{f' ({names})' if names else ''}"
        remedy = "give the channels that it was trained on, or take another model"
        raise Refused(Problem(image, rule, f"has {channels}", remedy))


Read = tuple[Case, "Future[Prepared | ValueError]"]


def _read_ahead(pool: ThreadPoolExecutor, model: Model, cases: Iterable[Case]) -> Iterator[Read]:
    def read(case: Case) -> Prepared | ValueError:
        try:
            return read_case(model, case)
        except ValueError as error:
            return error
        except OSError as error:
            return unreadable(case.root / case.places[0][0], case.places[0][0], error)

    waiting: deque[Read] = deque()
    slices = 0
    for case in cases:
        while len(waiting) >= CASES and slices + len(case.places) > AHEAD:
            slices -= len(waiting[0][0].places)
            yield waiting.popleft()
        waiting.append((case, pool.submit(read, case)))
        slices += len(case.places)
    while waiting:
        yield waiting.popleft()


@dataclass
class _Answer:
    """A case whose slices come out of the network one by one."""

    case: Case
    read: Prepared | ValueError
    squares: list[Probabilities] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return isinstance(self.read, ValueError) or len(self.squares) == len(self.read.sizes)

    def outcome(self) -> Outcome:
        if isinstance(self.read, ValueError):
            return self.read
        pairs = zip(self.squares, self.read.sizes, strict=True)
        return [from_square(square_NN, *size) for square_NN, size in pairs]


def _in_batches(
    model: Model, reads: Iterable[Read], *, flip: bool
) -> Iterator[tuple[Case, Outcome]]:
    answers: deque[_Answer] = deque()  # not yet given, in order
    queue: deque[tuple[_Answer, int]] = deque()  # slices that the network has not seen

    def compute(count: int) -> None:
        batch = [queue.popleft() for _ in range(count)]
        reads = [(answer.read, row) for answer, row in batch]
        squares = [read.squares_SNNC[row] for read, row in reads if isinstance(read, Prepared)]
        scalings = [read.scaling_SC3[row] for read, row in reads if isinstance(read, Prepared)]
        squares_BNN = _within_memory(model, np.stack(squares), np.stack(scalings), flip=flip)
        for (answer, _), square_NN in zip(batch, squares_BNN, strict=True):
            answer.squares.append(square_NN)

    for case, future in reads:
        answers.append(answer := _Answer(case, future.result()))
        if isinstance(answer.read, Prepared):
            queue.extend((answer, row) for row in range(len(answer.read.sizes)))
        while len(queue) >= BATCH:
            compute(BATCH)
        while answers and answers[0].is_whole:
            yield _given(answers)
    if queue:
        compute(len(queue))
    while answers:
        yield _given(answers)


def _within_memory(
    model: Model,
    squares_BNNC: NDArray[np.uint8],
    scaling_BC3: NDArray[np.float32],
    *,
    flip: bool,
) -> Probabilities:
    """The probabilities of a batch, which goes through the network in parts where memory is short.

    Raises:
        MemoryError: there is not enough for a single slice.
    """
    batch = len(squares_BNNC)
    while True:
        try:
            return model.of_squares(squares_BNNC, scaling_BC3, flip=flip, batch=batch)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_shortage(error):
                raise
        if batch == 1:
            raise MemoryError
        batch //= 2
        memory.free()


def _given(answers: deque[_Answer]) -> tuple[Case, Outcome]:
    answer = answers.popleft()
    return answer.case, answer.outcome()
