"""Patients of which nothing was used, though something was meant as their data."""

import re
from collections import defaultdict

from brainseg.data.formats.account import BESIDE, NEEDED, Account, folders_of, suffix
from brainseg.data.formats.listing import COPY, Listing, is_picture, is_volume
from brainseg.data.persons import composed
from brainseg.data.readers import paths
from brainseg.data.readers.paths import printable

# Where the folders of patients lie in each layout ("" is the root), and where their files do
FOLDERS = {"lgg": ("",), "nifti": ("",), "pairs": ("images", "masks")}
CASES = {"pairs": ("images", "masks"), "nnunet": ("imagesTr", "labelsTr")}
NO_DATA = (BESIDE, COPY, paths.EMPTY, paths.HIDDEN_FILE, paths.HIDDEN_FOLDER, paths.FOLDER_LINK)
DOCUMENTS = re.compile(  # suffixes of what can be no scans: texts, programs, films, weights
    r"\.(txt|md|rst|pdf|docx?|odt|rtf|tex|bib|html|css|xml|[ct]sv|xlsx?|ods|json|ya?ml|toml|ini|cfg|"
    r"log|lock|pyc?|ipynb|r|m|c|h|cpp|sh|bat|ps1|sql|bval|bvec|pptx?|e?ps|svg|gif|mp[34]|avi|mov|"
    r"pth?|ckpt|pkl|onnx|safetensors)"
)
ARCHIVES = re.compile(r"\.(zip|t?gz|tar|tar\.(gz|bz2|xz)|7z|rar|bz2|xz)")


def refuse_lost_patients(listing: Listing, account: Account, layout: str) -> bool:
    """Add a problem for each patient of which nothing was used; whether there is any.

    A manifest says itself who takes part.
    """
    folders = _Folders(account, {row[0] for row in listing.rows})
    lost: dict[str, list[str]] = {}
    for top in FOLDERS.get(layout, ()):
        lost |= folders.lost(top)
    lost |= _lost_cases(listing, account, CASES.get(layout, ()))
    for patient, names in lost.items():
        links = any(account.roles[name] == paths.NOWHERE for name in names)
        listing.refuse(
            printable(patient),
            "something of each patient must be used",
            "is empty" if account.roles.get(patient) == paths.EMPTY else _has(account, names),
            f"{'fetch what the links lead to' if links else 'convert or add its files'}, or move "
            "it out of the data",
            files=names,
        )
    return bool(lost)


def _has(account: Account, names: list[str]) -> str:
    return f"has only {account.described(names)}"


def _lost_cases(listing: Listing, account: Account, tops: tuple[str, ...]) -> dict[str, list[str]]:
    """Patients whose name is in those of their files in ``tops``: the files, all not used."""
    pictures = any(row[4] == -1 for row in listing.rows)
    known = {row[0] for row in listing.rows}
    lost: dict[str, list[str]] = defaultdict(list)
    for name, role in account.roles.items():
        folder, _, last = name.rpartition("/")
        if folder not in tops or not may_be_data(role):
            continue
        patient = last[: len(last) - len(suffix(last))]
        if folder == "imagesTr":
            patient = re.sub(r"_\d{4}$", "", patient)
        if pictures:
            patient = re.sub(r"_\d+$", "", patient)
        patient = composed(patient)
        if role in NEEDED:
            known.add(patient)
        else:
            lost[patient].append(name)
    return {patient: lost[patient] for patient in sorted(lost.keys() - known)}


class _Folders:
    """The folders of a data set, by whether anything in them was used."""

    def __init__(self, account: Account, patients: set[str]) -> None:
        self.roles = account.roles
        needed = [name for name, role in self.roles.items() if role in NEEDED]
        self.direct = {name.rpartition("/")[0] for name in needed}
        self.alive = {folder for name in needed for folder in (name, *folders_of(name))}
        self.patients = patients | {folder.rpartition("/")[2] for folder in self.direct}
        self.shapes = {_shape(folder) for folder in self.direct}

    def lost(self, top: str) -> dict[str, list[str]]:
        """The folders of patients below ``top`` of which nothing was used: what they hold."""
        beside = {folder.rpartition("/")[0] for folder in self.direct if folder != top}
        held: dict[str, list[str]] = defaultdict(list)
        data: dict[str, list[str]] = defaultdict(list)
        for name, role in self.roles.items():
            if role in NEEDED or not (folder := self._unused_folder(name, top)):
                continue
            is_sibling = folder.rpartition("/")[0] in beside
            if is_sibling and _shape(folder) in self.shapes:  # whatever it holds
                held[folder].append(name)
            # Pictures beside volumes, or volumes beside pictures, are of another layout
            if may_be_data(role) and not (is_picture(role) or is_volume(role)):
                data[folder].append(name)
        return {folder: data[folder] or held[folder] for folder in sorted(data | held)}

    def _unused_folder(self, name: str, top: str) -> str:
        """The highest folder of a path, or what stands for one, of which nothing was used.

        "" if it lies in the folder of a patient, or of another form of a patient's data.
        """
        if top and not name.startswith(f"{top}/"):
            return ""
        chain = [*folders_of(name), name]
        chain = chain[chain.index(top) + 1 :] if top else chain
        unused = next((folder for folder in chain if folder not in self.alive), "")
        parent = unused.rpartition("/")[0]
        of_patient = parent != top and parent in self.direct
        is_folder = unused != name or self._stands_for_a_folder(name)
        named = [*chain[:-1], _unpacked(name)] if is_folder else chain[:-1]
        other_form = any(folder.rpartition("/")[2] in self.patients for folder in named)
        return unused if is_folder and not of_patient and not other_form else ""

    def _stands_for_a_folder(self, name: str) -> bool:
        """Whether it is empty, or a dead link or an archive of a name like a patient's folder."""
        role = self.roles[name]
        closed = role == paths.NOWHERE or ARCHIVES.fullmatch(role)
        return role == paths.EMPTY or bool(closed and _shape(_unpacked(name)) in self.shapes)


def may_be_data(role: str) -> bool:
    """Whether what is not used may hold scans, by its kind."""
    return role not in NO_DATA and not DOCUMENTS.fullmatch(role)


def _unpacked(name: str) -> str:
    """What an archive may hold: P5 of P5.zip."""
    end = suffix(name)
    return name[: -len(end)] if ARCHIVES.fullmatch(end) else name


def _shape(folder: str) -> str:
    """The folder with 0 for each number: P0 of P12 and of P3."""
    return re.sub(r"\d+", "0", folder)
