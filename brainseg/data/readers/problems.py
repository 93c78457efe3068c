"""What is wrong with one file of a data set, in a check's list or as an error; and its words."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NOT_ALLOWED, CHMOD = "is not readable by this user", "change its permissions"

NAMED = 6  # patients or files that a sentence names; others are counted


@dataclass(frozen=True)
class Problem:
    """One broken rule; its text is the sentence "rule, file found; remedy"."""

    file: str  # relative to the root of the data, with forward slashes
    rule: str
    fault: str  # follows the file's name in the sentence: starts with a verb
    remedy: str

    def __str__(self) -> str:
        return f"{self.rule}, {self.file} {self.fault}; {self.remedy}"


class Refused(ValueError):
    """A file breaks a rule; ``problem`` says which, and its text is the error's."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def unreadable(path: Path, name: str, error: Exception | None = None) -> Refused:
    """The error for a file that cannot be read, with the reason if it is known."""
    if not path.exists():
        fault = "is missing"
    elif not path.is_file():
        fault = "is not a file"
    elif not os.access(path, os.R_OK):
        fault = NOT_ALLOWED
    elif path.stat().st_size == 0:
        fault = "is empty"
    else:
        why = str(error).splitlines()[0] if error and str(error) else ""
        fault = "cannot be decoded" + (f" ({why})" if why else "")
    rule = "every image and mask must be readable"
    remedy = "restore it, or remove the slice"
    return Refused(Problem(name, rule, fault, CHMOD if fault == NOT_ALLOWED else remedy))


def some(names: Iterable[str], between: str = ", ", *, last: str = "", most: int = NAMED) -> str:
    """The first names, and how many more there are, after ``last`` if that is not ``between``."""
    names = list(names)
    more = f"{last or between}and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """`1 slice`, `2 slices`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
