"""Whether a folder is the same one on every machine: words left there, and read by the others."""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

OWN = "driver"
PATIENCE_SECONDS = 5.0  # a network's file system may show a file late


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A folder of its own below the one that is asked about, and the word that lies in it."""

    folder: str
    word: str


@contextmanager
def left_below(folder: Path) -> Iterator[Probe]:
    """Leave a word below ``folder`` for as long as the block; afterwards all is as it was.

    OSError: this machine cannot write there.
    """
    word = secrets.token_hex(8)
    place = folder / f".brainseg-doctor-{word}"
    made = [path for path in (place, *place.parents) if not path.exists()]
    try:
        place.mkdir(parents=True)
        place.joinpath(OWN).write_text(word)
        yield Probe(folder=str(place), word=word)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for path in made[1:]:
            with suppress(OSError):  # somebody has begun to use it
                path.rmdir()


def answered(probe: Probe, name: str) -> str:
    """On a node: read the driver's word and leave one under ``name``; else say what is wrong."""
    place = Path(probe.folder)
    if not _reads(place / OWN, probe.word):
        return "does not see what the driver wrote there"
    try:
        place.joinpath(name).write_text(probe.word)
    except OSError as error:
        return f"reads it but cannot write there ({error.strerror})"
    return ""


def heard(probe: Probe, name: str) -> bool:
    """On the driver: whether it reads what the node left under ``name``."""
    return _reads(Path(probe.folder, name), probe.word)


def _reads(path: Path, word: str) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(OSError):
            if path.read_text() == word:
                return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
