"""What lies under the root of a data set: listed once, and never read from outside its folder."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from brainseg.data.readers.problems import Problem, Refused
from brainseg.records.cache import default_cache

JOINT = "|"  # between the files that hold the channels of one slice

NOWHERE = "link that leads nowhere"
FOLDER_LINK = "link to a folder"
EMPTY = "empty folder"
HIDDEN_FOLDER = "folder of hidden name"
HIDDEN_FILE = "hidden file"
OWN_CACHE = "cache of brainseg"
SPECIAL = "thing that is neither file nor folder"


@dataclass
class Tree:
    """Everything under a root, each thing once; paths relative to it, with forward slashes.

    What lies in a hidden folder, behind a link to a folder or in a folder that is a problem is not
    seen: the folder or link stands for it.
    """

    files: list[str] = field(default_factory=list)  # sorted
    problems: dict[str, Problem] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)  # their kind: NOWHERE, EMPTY, ...


def list_tree(root: Path) -> Tree:
    """List a folder.

    Problems are links that leave the root, folders that cannot be read and names that are not text.
    """
    tree = Tree()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                inside = [
                    (f"{folder}/{entry.name}" if folder else entry.name, entry) for entry in entries
                ]
        except OSError as error:
            rule, fault = "every folder of the data must be readable", f"is not ({error.strerror})"
            place = Problem(folder or ".", rule, fault, "change its permissions")
            tree.problems[folder or "."] = place
            continue
        if folder and not inside:
            tree.others[folder] = EMPTY
        folders += _sort_in(tree, root, inside)
    tree.files.sort()
    return tree


def _sort_in(tree: Tree, root: Path, inside: Iterable[tuple[str, os.DirEntry[str]]]) -> list[str]:
    """Put each entry of a folder in its place in the tree; the folders to list next."""
    folders, own = [], _own_cache()
    for name, entry in inside:
        kind = _other_kind(entry) or OWN_CACHE * (entry.path == own)
        if kind:
            tree.others[name] = kind
        elif problem := _problem(root, name, entry.is_symlink()):
            tree.problems[name] = problem
        elif entry.is_dir():
            if entry.is_symlink():
                tree.others[name] = FOLDER_LINK
            else:
                folders.append(name)
        else:
            tree.files.append(name)
    return folders


def _own_cache() -> str:
    """Where brainseg keeps its own files, which may lie in the data; "" if it has no place."""
    with suppress(ValueError):
        return os.path.realpath(default_cache())
    return ""


def _other_kind(entry: os.DirEntry[str]) -> str:
    """Why an entry can be neither a file of the data nor a folder of them; "" if it can."""
    if entry.name.startswith("."):
        return HIDDEN_FOLDER if entry.is_dir(follow_symlinks=False) else HIDDEN_FILE
    if entry.is_symlink() and not os.path.exists(entry.path):
        return NOWHERE
    return "" if entry.is_file() or entry.is_dir() else SPECIAL


def confined(root: Path, name: str) -> Path:
    """Return the path of a file of the data; refused where it lies outside root."""
    path = os.path.realpath(os.path.join(root, name))
    if not _is_inside(path, root):
        raise Refused(_outside(name, path))
    return Path(path)


def _is_inside(path: str, root: Path) -> bool:
    return path.startswith(os.path.join(_real(root), ""))  # with one slash at its end, also for /


def printable(name: str) -> str:
    """A name with "?" for what is no text."""
    return name.encode(errors="replace").decode()


def _real(root: Path) -> str:
    return _resolved(os.path.abspath(root))  # a relative path depends on the working folder


@lru_cache(maxsize=16)
def _resolved(root: str) -> str:
    return os.path.realpath(root)


def _problem(root: Path, name: str, is_link: bool) -> Problem | None:
    if name != printable(name):
        encoding = sys.getfilesystemencoding()
        remedy = "rename it" if encoding == "utf-8" else "set PYTHONUTF8=1 to have names read so"
        fault = "is not" if encoding == "utf-8" else f"is read as {encoding}"
        return Problem(printable(name), "a path must be UTF-8 text", fault, remedy)
    if JOINT in name:
        rule = f"a path must not contain {JOINT!r}, which joins the files of channels"
        return Problem(name, rule, "does", "rename it")
    if is_link:
        path = os.path.realpath(os.path.join(root, name))
        if path != _real(root) and not _is_inside(path, root):
            return _outside(name, path)
    return None


def _outside(name: str, path: str) -> Problem:
    rule, remedy = "every file must lie inside the data folder", "copy it there, or remove the link"
    return Problem(printable(name), rule, f"leads to {printable(path)}", remedy)
