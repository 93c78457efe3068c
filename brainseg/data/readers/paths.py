"""The files of a data set: listed once, and never read from outside its folder."""

import os
from functools import lru_cache
from pathlib import Path

from brainseg.data.readers.problems import Problem, Refused

JOINT = "|"  # between the files that hold the channels of one slice


def visible_files(root: Path) -> tuple[list[str], list[Problem]]:
    """Return the files under root, relative to it and sorted, and the problems found.

    Hidden files and folders are ignored, and links to folders are not followed. Problems are
    links that leave the root, folders that cannot be read and names that are not text.
    """
    names: list[str] = []
    problems: list[Problem] = []

    def closed(error: OSError) -> None:
        fault = f"is not ({error.strerror})"
        rule = "every folder of the data must be readable"
        name = _relative(root, error.filename)
        problems.append(Problem(name, rule, fault, "change its permissions"))

    for folder, subfolders, files in os.walk(root, onerror=closed):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in (*subfolders, *(name for name in files if not name.startswith("."))):
            path = os.path.join(folder, name)
            problem = _problem(root, path)
            if problem:
                problems.append(problem)
            elif os.path.isfile(path):
                names.append(_relative(root, path))
    return sorted(names), sorted(problems, key=str)


def confined(root: Path, name: str) -> Path:
    """Return the path of a file of the data; refused where it lies outside root."""
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(_real(root) + os.sep):
        raise Refused(_outside(name, path))
    return Path(path)


def _real(root: Path) -> str:
    return _resolved(os.path.abspath(root))  # a relative path depends on the working folder


@lru_cache(maxsize=16)
def _resolved(root: str) -> str:
    return os.path.realpath(root)


def _problem(root: Path, path: str) -> Problem | None:
    name = _relative(root, path)
    if name != _printable(name):
        return Problem(_printable(name), "a path must be UTF-8 text", "is not", "rename it")
    if JOINT in name:
        rule = f"a path must not contain {JOINT!r}, which joins the files of channels"
        return Problem(name, rule, "does", "rename it")
    if os.path.islink(path) and not os.path.realpath(path).startswith(_real(root) + os.sep):
        return _outside(name, os.path.realpath(path))
    return None


def _outside(name: str, path: str) -> Problem:
    rule, remedy = "every file must lie inside the data folder", "copy it there, or remove the link"
    return Problem(_printable(name), rule, f"leads to {_printable(path)}", remedy)


def _relative(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix()


def _printable(name: str) -> str:
    return name.encode(errors="replace").decode()
