"""Everything needed to resume as if never stopped: written whole, verified when read.

A trial's folder holds the last two `latest-<epoch>.pt` while it runs, some epochs apart, the last
one while it is paused, and a network alone: in a search `best.pt`, that of its best epoch; in a
list of points, whose trials are scored at their last epoch, `last.pt` once that is trained.
`checkpoints.json` names the first with their SHA-256, newest first. A checkpoint that is not whole
is skipped for the one before it; if the index is lost, the files themselves are looked at. What was
skipped, and why, is noted by the keeper.

No random state is kept: augmentation, order and dropout follow from (seed, epoch, worker), and
the learning rate from the step, so that the epoch is all there is to restore.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from brainseg.records.checkpoint_index import (
    candidates,
    content,
    epoch_of,
    index_of,
    indexed,
    no_whole,
    on_disk,
    sha256,
    write_index,
)
from brainseg.records.files import replacing

Checkpoint = dict[str, Any]
Objection = Callable[[Mapping[str, Any]], str]  # to a whole checkpoint, in words; "" for none


@dataclass(frozen=True)
class Newest:
    """The checkpoint to resume from.

    Attributes:
        file: its name; "" if the trial starts from its first epoch.
        problems: what is wrong with the index and with those that were skipped, in words.
    """

    file: str = ""
    state: Checkpoint = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def none(state: Mapping[str, Any]) -> str:
    """No objection."""
    return ""


def save_latest(folder: Path, epoch: int, state: Checkpoint) -> None:
    """Keep ``state`` as the newest of two."""
    name = f"latest-{epoch:04d}.pt"
    digest = _write(folder / name, state)
    before = [(file, other) for file, other in indexed(folder).items() if file != name]
    write_index(folder, {name: digest, **dict(before[:1])})
    _keep(folder, {name, *(file for file, _ in before[:1])})


def newest(folder: Path, *, foreign: Objection = none, unsupported: Objection = none) -> Newest:
    """The newest whole checkpoint; an empty one if the trial starts from its first epoch.

    Args:
        foreign: that it is of another trial, and as good as none.
        unsupported: that other records, which cannot be made again, do not reach as far.

    Raises:
        ValueError: there is an index, and no checkpoint of the trial is whole; to start over
            silently would throw work away.
    """
    named, has_index = indexed(folder), index_of(folder).exists()
    fault = "" if named else "names no checkpoint" if has_index else "is missing"
    choices, problems, whole = candidates(folder), list[str](), False
    if fault and (choices or has_index):
        problems.append(f"checkpoints.json {fault}")
    for file, digest in choices.items():
        held = content(folder / file, digest)
        state = _loaded(held, epoch_of(file)) if held else None
        if state is None:
            problems.append(f"{file} is {'missing' if held is None else 'damaged'}")
        elif why := foreign(state):
            problems.append(f"{file} {why}")
        elif why := unsupported(state):
            whole = True
            problems.append(f"{file} {why}")
        else:
            if problems:  # so that no later look trusts what was skipped
                older = [name for name in named if epoch_of(name) < epoch_of(file)]
                entries = {file: sha256(held or b"")} | {name: named[name] for name in older}
                write_index(folder, entries)
            return Newest(file, state, tuple(problems))
    if has_index and not whole:
        raise ValueError(no_whole(folder, problems))
    return Newest(problems=tuple(problems))


def load(path: Path) -> Checkpoint:
    """The state in a file that is known to be whole."""
    state: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return state


def save_network(path: Path, weights: Mapping[str, Any], epoch: int) -> None:
    """Write a network alone, which stays when the trial has ended."""
    _write(path, {"network": weights, "epoch": epoch})


def keep_newest(folder: Path) -> None:
    """Keep one file to resume from: many trials may be paused, and for long."""
    kept = dict(list(indexed(folder).items())[:1])
    if kept:
        write_index(folder, kept)
        _keep(folder, set(kept))


def drop_latest(folder: Path) -> None:
    """Delete the checkpoints of a trial that has ended; the network that counts stays."""
    _keep(folder, set())
    index_of(folder).unlink(missing_ok=True)


def _keep(folder: Path, names: set[str]) -> None:
    for name in on_disk(folder):
        if name not in names:
            (folder / name).unlink(missing_ok=True)


def _loaded(held: bytes, epoch: int) -> Checkpoint | None:
    """The state that a file's content holds; None if it is no checkpoint of this epoch."""
    try:
        state = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
    except Exception:  # each kind of damage raises its own
        return None
    known = isinstance(state, dict) and state.get("epoch", epoch) == epoch and "network" in state
    return state if known else None


def _write(path: Path, state: Checkpoint) -> str:
    """Write and rename; return the SHA-256 of the bytes."""
    for torn in path.parent.glob(f".{path.name}.*"):  # of a process that was killed while writing
        torn.unlink()
    with replacing(path) as file:
        hashed = _Hashed(file)
        try:
            torch.save(state, cast(BinaryIO, hashed))  # it writes and flushes, no more
        except RuntimeError:
            if hashed.error:  # which PyTorch replaces by one of its own
                raise hashed.error from None
            raise
    return hashed.digest.hexdigest()


class _Hashed:
    """A file that is hashed while it is written: a copy of it in memory would be as large.

    Attributes:
        error: the first that the file raised, such as that the disk is full.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, part: bytes) -> int:
        self.digest.update(part)
        with self._noted():
            return self._file.write(part)

    def flush(self) -> None:
        with self._noted():
            self._file.flush()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            raise
