"""The one console of the commands: tables, progress, and files that a person asked for."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brainseg.data.address import local_path

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
PIPE = 100_000  # columns that no table reaches: a pipe gets whole cells


def terminal(*, whole_lines: bool = False) -> "Console":
    """Standard output; with ``whole_lines`` a pipe gets lines as long as they are."""
    return _console(width=PIPE if whole_lines and not sys.stdout.isatty() else None)


def errors() -> "Console":
    """Standard error, where progress is shown."""
    return _console(stderr=True)


def _console(**settings: Any) -> "Console":
    from rich.console import Console

    class Piped(Console):
        """Rich itself ends with status 1, which `brainseg check` has for problems in the data."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Piped(**settings)


@dataclass(frozen=True)
class ProgressBar:
    """A bar over items and, where it is known, their number; only on a terminal."""

    description: str

    def __call__(self, items: Iterable[T], total: int | None = None) -> Iterable[T]:
        from rich.progress import track

        console = errors()
        return track(
            items,
            total=total,
            description=self.description,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )


def require_folder(option: str, file: Path | None) -> Path | None:
    """The file that ``option`` names; called before anything is computed.

    Raises:
        ValueError: its folder does not exist.
    """
    if file is None:
        return None
    file = local_path(file)
    if not file.parent.is_dir():
        raise ValueError(
            f"{option} must name a file in a folder that exists, got {file}; make the folder first"
        )
    return file


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn an OSError of the block into one sentence about ``file``."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{file} cannot be written ({error.strerror}); choose another path"
        ) from None
