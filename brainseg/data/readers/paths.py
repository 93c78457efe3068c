"""The files of a data set: listed once, and never looked for outside its folder."""

import os
from functools import lru_cache
from pathlib import Path

from brainseg.data.readers.problems import Problem, Refused

JOINT = "|"  # between the files that hold the channels of one slice


def visible_files(root: Path) -> tuple[list[str], list[Problem]]:
    """Return the files under root, relative to it and sorted, and what may not be listed.

    Hidden files and folders are passed over; a link that leaves the root, a folder that may not
    be read and a name that is no text are problems. Links to folders are not followed.
    """
    names: list[str] = []
    problems: list[Problem] = []

    def closed(error: OSError) -> None:
        found = f"is not ({error.strerror})"
        rule = "every folder of the data must be readable"
        problems.append(Problem(_inside(root, error.filename), rule, found, "change its mode"))

    for folder, subfolders, files in os.walk(root, onerror=closed):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in (*subfolders, *(name for name in files if not name.startswith("."))):
            path = os.path.join(folder, name)
            problem = _problem(root, path)
            if problem:
                problems.append(problem)
            elif os.path.isfile(path):
                names.append(_inside(root, path))
    return sorted(names), sorted(problems, key=str)


def confined(root: Path, name: str) -> Path:
    """Return the path of a file of the data; refused where it lies outside root."""
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(_real(root) + os.sep):
        raise Refused(_outside(name, path))
    return Path(path)


@lru_cache(maxsize=16)
def _real(root: Path) -> str:
    return os.path.realpath(root)


def _problem(root: Path, path: str) -> Problem | None:
    name = _inside(root, path)
    if name != _shown(name):
        return Problem(_shown(name), "a path must be UTF-8 text", "is not", "rename it")
    if JOINT in name:
        rule = f"a path must not hold {JOINT!r}, which joins the files of channels"
        return Problem(name, rule, "does", "rename it")
    if os.path.islink(path) and not os.path.realpath(path).startswith(_real(root) + os.sep):
        return _outside(name, os.path.realpath(path))
    return None


def _outside(name: str, path: str) -> Problem:
    rule, remedy = "every file must lie inside the data", "copy it in, or remove the link"
    return Problem(_shown(name), rule, f"leads to {_shown(path)}", remedy)


def _inside(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix()


def _shown(name: str) -> str:
    return name.encode(errors="replace").decode()
