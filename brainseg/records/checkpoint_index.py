"""Which checkpoints a trial's folder holds: by checkpoints.json, and by what files are there.

Needs no PyTorch: whoever only asks whether a trial can resume does not wait for it.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from brainseg.records.files import read_json, write_json

NAME = re.compile(r"latest-(\d{4,})\.pt")
REMEDY = "delete checkpoints.json there to start the trial again from its first epoch"


def index_of(folder: Path) -> Path:
    """The list of a trial's checkpoints with their SHA-256, newest first."""
    return folder / "checkpoints.json"


def indexed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each checkpoint that the index names, newest first; empty if it is damaged."""
    try:
        entries = read_json(index_of(folder))
        named = {str(entry["file"]): str(entry["sha256"]) for entry in entries}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {name: digest for name, digest in named.items() if NAME.fullmatch(name)}


def write_index(folder: Path, named: dict[str, str]) -> None:
    write_json(index_of(folder), [{"file": f, "sha256": digest} for f, digest in named.items()])


def on_disk(folder: Path) -> list[str]:
    """The names of the checkpoints that are there, newest first."""
    names = [path.name for path in folder.glob("latest-*.pt") if NAME.fullmatch(path.name)]
    return sorted(names, key=epoch_of, reverse=True)


def newest_epoch(folder: Path) -> int:
    """The epoch of the newest checkpoint that is there, whole or not; 0 for none."""
    return max(map(epoch_of, on_disk(folder)), default=0)


def epoch_of(name: str) -> int:
    """The epoch after which the checkpoint ``name`` was written."""
    match = NAME.fullmatch(name)
    assert match, f"{name} is no checkpoint's name"
    return int(match[1])


def candidates(folder: Path) -> dict[str, str]:
    """Checkpoints to resume from, best first, with their SHA-256; "" for those not in the index."""
    named = indexed(folder)
    return named | {name: "" for name in on_disk(folder) if name not in named}


def content(path: Path, digest: str) -> bytes | None:
    """What a checkpoint holds; b"" if it is damaged, None if there is none.

    Without a ``digest``, the sums that its archive holds of its own parts are checked.

    Raises:
        FileNotFoundError: its folder is gone, and with it the storage: nothing is known of it.
    """
    try:
        held = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        if not path.parent.is_dir():
            raise
        return None
    return held if (sha256(held) == digest if digest else _sums_hold(held)) else b""


def has_whole(folder: Path) -> bool:
    """Whether there is a checkpoint to resume from."""
    return any(content(folder / name, digest) for name, digest in candidates(folder).items())


def no_whole(folder: Path, problems: Sequence[str]) -> str:
    """Why a trial is not resumed whose checkpoints all have ``problems``, and what to do."""
    return f"no checkpoint in {folder} is whole ({', '.join(problems)}); {REMEDY}"


def remedied(folder: Path) -> bool:
    """Whether a trial that failed for want of a whole checkpoint may start from its first epoch.

    That is so once somebody has followed ``REMEDY``.
    """
    failure = folder / "failure"
    asked = failure.exists() and REMEDY in failure.read_text(encoding="utf-8", errors="replace")
    return asked and not index_of(folder).exists()


def sha256(held: bytes | memoryview) -> str:
    return hashlib.sha256(held).hexdigest()


def _sums_hold(held: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(held)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, OSError):
        return False
