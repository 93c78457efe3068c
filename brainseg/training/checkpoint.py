"""Everything needed to resume as if never stopped: written whole, verified when read.

A trial's folder holds the last two `latest-<epoch>.pt` while it runs, the last one while it is
paused, and `best.pt`, the network at its best epoch. `checkpoints.json` names them with their
SHA-256, newest first. A file whose hash differs is skipped for the one before it, with a warning.

No random state is kept: augmentation, order and dropout follow from (seed, epoch, worker), and
the learning rate from the step, so that the epoch is all there is to restore.
"""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from brainseg.records.files import read_json, replacing, write_json

Checkpoint = dict[str, Any]
log = logging.getLogger(__name__)


def save_latest(folder: Path, epoch: int, state: Checkpoint) -> None:
    """Keep ``state`` as the newest of two."""
    name = f"latest-{epoch:04d}.pt"
    entries = [{"file": name, "sha256": _write(folder / name, state)}, *_entries(folder)]
    entries = [
        e for i, e in enumerate(entries) if e["file"] not in {x["file"] for x in entries[:i]}
    ]
    write_json(folder / "checkpoints.json", entries[:2])
    for entry in entries[2:]:
        (folder / entry["file"]).unlink(missing_ok=True)


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest whole state, or None if the trial has none yet.

    Raises:
        ValueError: checkpoints are named but none of them is whole; to start over silently
            would throw work away.
    """
    entries = _entries(folder)
    for entry in entries:
        path = folder / entry["file"]
        if path.exists() and _hash(path.read_bytes()) == entry["sha256"]:
            state: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            return state
        log.warning("%s is damaged or missing; going back to the checkpoint before it", path)
    if entries:
        raise ValueError(
            f"no checkpoint in {folder} is whole; delete checkpoints.json there to start the "
            "trial again from its first epoch"
        )
    return None


def save_best(folder: Path, state: Checkpoint) -> None:
    _write(folder / "best.pt", state)


def keep_newest(folder: Path) -> None:
    """Keep one file to resume from: many trials may be paused, and for long."""
    for entry in _entries(folder)[1:]:
        (folder / entry["file"]).unlink(missing_ok=True)
    write_json(folder / "checkpoints.json", _entries(folder)[:1])


def drop_latest(folder: Path) -> None:
    """Delete the checkpoints of a trial that has ended; its best network stays."""
    for entry in _entries(folder):
        (folder / entry["file"]).unlink(missing_ok=True)
    (folder / "checkpoints.json").unlink(missing_ok=True)


def _entries(folder: Path) -> list[dict[str, str]]:
    index = folder / "checkpoints.json"
    return list(read_json(index)) if index.exists() else []


def _write(path: Path, state: Checkpoint) -> str:
    """Write and rename; return the SHA-256 of the bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    for torn in path.parent.glob(f".{path.name}.*"):  # of a process that was killed while writing
        torn.unlink()
    with replacing(path) as file:
        file.write(buffer.getbuffer())
    return _hash(buffer.getbuffer())


def _hash(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
