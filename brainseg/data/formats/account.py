"""What became of everything that lies under the root: each thing has one role.

Used as image or mask, a file beside the data, part of a problem; or not used, and then counted by
its kind and named.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from brainseg.data.formats.listing import COPY, TEST_CASE, Listing
from brainseg.data.readers import paths
from brainseg.data.readers.paths import JOINT, Tree, printable

IMAGE, MASK, BESIDE, TROUBLED = "image", "mask", "file beside the data", "file in a problem"
NEEDED = (IMAGE, MASK, TROUBLED)
USED = (IMAGE, MASK, BESIDE, paths.HIDDEN_FILE, TROUBLED)
NO_SUFFIX = "file without a suffix"
PLURALS = {
    BESIDE: "files beside the data",
    TROUBLED: "files in problems",
    NO_SUFFIX: "files without a suffix",
    paths.NOWHERE: "links that lead nowhere",
    paths.FOLDER_LINK: "links to folders (not followed)",
    paths.HIDDEN_FOLDER: "folders of hidden name",
    paths.SPECIAL: "things that are neither files nor folders",
    COPY: "copies of a file beside them",
    TEST_CASE: "files of test cases",
}
KINDS = 8  # of what is not used that are named; others are counted
KNOWN_BESIDE = re.compile(  # what comes with data sets and file systems, and is no part of the data
    r"(readme|licen[cs]e|citation|changes|authors|copying)(\.\w{1,8})?|dataset\.json|data\.csv|"
    r"phantoms\.json|dataset_description\.json|participants\.(tsv|json)|thumbs\.db|desktop\.ini|"
    r"(md5|sha\d+)sums?(\.txt)?",
    re.I,
)
TOOLS = {".git", ".datalad", ".ipynb_checkpoints", ".idea", ".vscode", ".cache", ".Trashes"}
SUFFIX = re.compile(r"(\.nii|\.tar)?\.(?!\d+$)[\w~-]{1,10}$")  # not the end of DICOM's 1.2.840.1


@dataclass(frozen=True)
class Account:
    """The role of everything that was seen under a root, by its path."""

    roles: Mapping[str, str]

    @property
    def used(self) -> str:
        """How many files were used, and as what."""
        groups = self.by_role(self.roles)
        return ", ".join(_count(len(groups[role]), role) for role in USED if role in groups)

    @property
    def unused(self) -> str:
        """What was not used, each kind with its number and an example; "" if all was."""
        return self.described(name for name, role in self.roles.items() if role not in USED)

    def described(self, names: Iterable[str]) -> str:
        """The kinds of ``names``, the most frequent first: `12 .bmp (P1/a.bmp, ...)`."""
        groups = sorted(self.by_role(names).items(), key=lambda kind: (-len(kind[1]), kind[0]))
        phrases = [
            f"{_count(len(group), role)} ({printable(min(group))}{', ...' * (len(group) > 1)})"
            for role, group in groups[:KINDS]
        ]
        if rest := groups[KINDS:]:
            phrases.append(f"{sum(len(group) for _, group in rest):,} of {len(rest)} more kinds")
        return ", ".join(phrases)

    def by_role(self, names: Iterable[str]) -> dict[str, list[str]]:
        groups = defaultdict(list)
        for name in names:
            groups[self.roles[name]].append(name)
        return groups


def account_for(listing: Listing, tree: Tree) -> Account:
    """What became of each thing in the tree once the slices are listed."""
    images = {name for joined in {row[2] for row in listing.rows} for name in joined.split(JOINT)}
    masks = {row[3] for row in listing.rows} - {""}
    charged = listing.charged | {problem.file for problem in listing.problems}

    def role(name: str) -> str:
        if name in images:
            return IMAGE
        if name in masks:
            return MASK
        if name in charged or not charged.isdisjoint(folders_of(name)):
            return TROUBLED
        last = name.rpartition("/")[2]
        if name == listing.manifest or last in TOOLS or KNOWN_BESIDE.fullmatch(last):
            return BESIDE
        if tree.others.get(name) == paths.OWN_CACHE:
            return BESIDE
        return listing.aside.get(name) or tree.others.get(name) or suffix(name) or NO_SUFFIX

    roles = {name: role(name) for name in (*tree.files, *tree.others)}
    return Account(roles | dict.fromkeys(tree.problems, TROUBLED))


def folders_of(name: str) -> list[str]:
    """The folders that a path lies in, from the highest: a, a/b of a/b/c."""
    return [name[: match.start()] for match in re.finditer("/", name)]


def suffix(name: str) -> str:
    """What a file is known by: .bmp, .nii.gz, or nothing."""
    match = SUFFIX.search(name.rpartition("/")[2].lower())
    return match[0] if match else ""


def _count(number: int, role: str) -> str:
    plural = role if role.startswith(".") else PLURALS.get(role, f"{role}s")
    return f"{number:,} {role if number == 1 else plural}"
