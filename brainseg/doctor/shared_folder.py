"""Whether a folder is the same one on every machine: each reads there what the other wrote."""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OWN = "driver"
PATIENCE_SECONDS = 5.0  # a network's file system may show a file late


@contextmanager
def leave_word(folder: Path) -> Iterator[tuple[str, str]]:
    """Write a word into a new folder below ``folder``; yields that folder and the word.

    Both are removed after the block. OSError: this machine cannot write there.
    """
    word = secrets.token_hex(8)
    place = folder / f".brainseg-doctor-{word}"
    made = [path for path in (place, *place.parents) if not path.exists()]
    try:
        place.mkdir(parents=True)
        place.joinpath(OWN).write_text(word)
        yield str(place), word
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for path in made[1:]:
            with suppress(OSError):  # it was never made, or somebody uses it now
                path.rmdir()


def answer(folder: str, word: str) -> tuple[str, str]:
    """On a node: read the driver's word and write it again; the new file's name, or a problem."""
    place = Path(folder)
    name = secrets.token_hex(8)
    if not _reads(place / OWN, word):
        return "", "does not see what the driver wrote there"
    try:
        place.joinpath(name).write_text(word)
    except OSError as error:
        return "", f"reads it but cannot write there ({error.strerror})"
    return name, ""


def reads_back(folder: str, word: str, name: str) -> bool:
    """On the driver: whether it reads what the node wrote under ``name``."""
    return _reads(Path(folder, name), word)


def _reads(path: Path, word: str) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(OSError):
            if path.read_text() == word:
                return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
