"""What is wrong with one file of a data set, said once: in a check's list and in a refusal."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One broken rule; as text the sentence "rule, file found; remedy"."""

    file: str  # relative to the root of the data, with forward slashes
    rule: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.rule}, {self.file} {self.found}; {self.remedy}"


class Refused(ValueError):
    """A file that breaks a rule; ``problem`` says which, and the text is the problem's own."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def unreadable(path: Path, name: str, error: Exception | None = None) -> Refused:
    """The refusal of a file that cannot be read, with the reason as far as it can be told."""
    if not path.exists():
        found = "is missing"
    elif not path.is_file():
        found = "is no file"
    elif not os.access(path, os.R_OK):
        found = "may not be read by this user"
    elif path.stat().st_size == 0:
        found = "is empty"
    else:
        why = str(error).splitlines()[0] if error and str(error) else ""
        found = "cannot be decoded" + (f" ({why})" if why else "")
    rule = "every image and mask must be readable"
    return Refused(Problem(name, rule, found, "restore it, or remove the slice"))
