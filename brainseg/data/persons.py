"""Which patients may be one person, by their names alone; and what a folder's patient is called.

A patient is what is scored; a person may be several of them: scans of two dates, before and after
surgery, of two sequences. Names are taken apart from their end, one known form of a visit after
the other: `P1_2019-05-01`, `P1_baseline`, `sub-01_ses-02`, `BraTS-GLI-00008-001`. What is left is
the person. Numbers that may merely count (`P_1`, `case_0001`) are never taken off.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

MOST_VISITS = 6  # of a name without a number; more are the patients of a place
BETWEEN = "[-_ ./]+"
DATE = (
    r"(?:(?:19|20)\d\d(?P<gap>[-_.]?)(?:0[1-9]|1[0-2])(?P=gap)(?:0[1-9]|[12]\d|3[01])"
    r"|\d\d(?P<other>[-_.])\d\d(?P=other)(?:19|20)\d\d|(?:19|20)\d\d-(?:0[1-9]|1[0-2])"
    r"|(?:\d\d?[-_]?)?(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[-_]?(?:19|20)\d\d)"
    r"(?:[t_-]?\d{4}(?:\d\d)?)?"  # hours, minutes, seconds
)
COUNT = r"[-_ ]?\d{1,4}[a-z]?(?:[-_]\d{1,2})?"  # 2, 02, -003d, _000-1
TIMES = (
    rf"(?:sess?(?:ion)?|vis(?:it)?|time[-_ ]?(?:point)?|tp|week|wk|month|mon|year|yr|day){COUNT}"
    r"|ses-[a-z0-9]+"
    rf"|(?:base[-_ ]?line|bl|follow[-_ ]?up|fup?|(?:pre|post)(?:[-_ ]?op)?|initial){COUNT}"
    r"|base[-_ ]?line|bl|follow[-_ ]?up|(?:pre|post|intra)(?:[-_ ]?op(?:erative)?)?|initial"
    r"|recurrence|relapse|progression"
    r"|(?:first|second|third|1st|2nd|3rd|[4-9]th)(?:[-_ ]?(?:scan|visit|exam))?"
)
SHORT = (
    rf"(?:[tvmdwy]|scan|exam|mri?(?:[-_]d)?|run){COUNT}|fup?"
    r"|\d{1,3}[-_ ]?(?:days?|w|wks?|weeks?|m|mo|months?|y|yrs?|years?)"
)
SEQUENCE = "t1w|t2w|t1ce|t1c|t1gd|t1n|t2f|flair|dwi|adc|swi|pd|anat"
FIRST = re.compile(  # visits that stand in front of the person
    rf"(?:(?:visit|time[-_ ]?point|tp|ses){COUNT}|base[-_ ]?line|follow[-_ ]?up(?:{COUNT})?"
    rf"|(?:pre|post)[-_ ]?(?:op)?){BETWEEN}(.*\d.*)"
)
# What stands before: after a time any word that is not a general one, else one with a number.
VISITS = (
    (re.compile(rf"(.+?){BETWEEN}(?:{TIMES})"), False),
    (re.compile(rf"(.+?){BETWEEN}(?:{SHORT}|{SEQUENCE})"), True),
    (re.compile(rf"(.+?){BETWEEN}{DATE}"), False),
    (re.compile(r"(.*\D)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"), True),
)
SCHEMES = (  # data sets whose last number is a visit
    re.compile(r"(brats-[a-z-]+-\d{4,5})-\d{1,3}"),
    re.compile(r"(upenn-gbm-\d{5})_\d\d"),
    re.compile(r"(\d{3}_s_\d{4})_.+"),  # ADNI
)
GENERAL = re.compile(
    "(?:patients?|pat|subjects?|sub|cases?|scans?|images?|img|mri?|brains?|stud(?:y|ies)|exams?|"
    "series|sessions?|visits?|data(?:set)?|volumes?|hgg|lgg|gbm|gliomas?|tumou?rs?|controls?|"
    "healthy|train(?:ing)?|val(?:idation)?|test(?:ing)?|raw|derivatives)"
)
COLLECTION = re.compile(
    r"(?:sites?|cent(?:er|re)s?|hospital|clinic|cohort|group|batch|fold|set|data(?:set)?|part|"
    r"scanner|institut\w*|study|trial|project|train(?:ing)?|val(?:idation)?|test(?:ing)?)[-_ ]?\d*"
)


def composed(name: str) -> str:
    """A name in one spelling (NFC): a Mac writes `ü` as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def person(name: str) -> str:
    """What is left of a patient's name without its visits, in small letters."""
    left = _without_visits(name)
    in_front = FIRST.fullmatch(left)
    return in_front[1] if in_front else left


def visits(patients: Iterable[str]) -> list[list[str]]:
    """Patients that may be one person: names that differ only in case, spelling or a visit."""
    persons: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(set(patients)):
        persons[person(patient)].append(patient)
    return [
        names
        for base, names in persons.items()
        if len(names) > 1 and (len(names) <= MOST_VISITS or re.search(r"\d", base))
    ]


def namesakes(patients: Iterable[str]) -> list[list[str]]:
    """Patients of equal last folders, A/P1 and B/P1: one person, or two hospitals' first.

    Where few last folders occur in many others, as `anat`, it is the others that are persons;
    unless only the last ones are numbered, or the others are places: A/P1, B/P1, site 3/P1.
    """
    paths = {patient: person(patient) for patient in sorted(set(patients))}
    last: dict[str, list[str]] = defaultdict(list)
    for patient, path in paths.items():
        last[path.rpartition("/")[2]].append(patient)
    groups = [names for names in last.values() if len({paths[name] for name in names}) > 1]
    if len(last) < len({path.rpartition("/")[0] for path in paths.values()}):
        return [names for names in groups if all(_is_of_a_place(paths[name]) for name in names)]
    return groups


def alike_names(patients: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of patients that a split keeps in one part because of their names."""
    patients = set(patients)
    groups = [*visits(patients), *namesakes(patients)]
    return sorted(((n[0], other) for n in groups for other in n[1:]), key=lambda pair: pair[1])


def patients_of_folders(folders: Iterable[str]) -> dict[str, str]:
    """The patient of each folder: its last part, with more of the path where that is a visit.

    Folders of one last part in different places are different patients, named by their paths.
    """
    paths = {folder: composed(folder) for folder in folders}
    names = {path: _last_person(path) for path in set(paths.values())}
    used = Counter(names.values())
    return {
        folder: path if used[names[path]] > 1 else names[path] for folder, path in paths.items()
    }


def _is_of_a_place(path: str) -> bool:
    """Whether the last folder is named as a person is, and the one above as no person is."""
    above, _, last = path.rpartition("/")
    above = above.rpartition("/")[2]
    is_place = COLLECTION.fullmatch(above) or not re.search(r"\d", above)
    return bool(is_place and re.search(r"[^\W\d_].*\d", last))


def _last_person(path: str) -> str:
    """`P1` of `site/P1`, `P1/20190501` of `site/P1/20190501`."""
    return "/".join(path.split("/")[_without_visits(path).count("/") :])


def _without_visits(name: str) -> str:
    """The start of a name, before the visits at its end, in small letters."""
    readable = (char for char in name if unicodedata.category(char) != "Cf")  # of no width
    left = " ".join(unicodedata.normalize("NFKC", "".join(readable)).casefold().split())
    for scheme in SCHEMES:
        if match := scheme.fullmatch(left):
            return match[1]
    while shorter := _without_last_visit(left):
        left = shorter
    return left


def _without_last_visit(name: str) -> str:
    """A name without its last visit; "" if it has none."""
    for form, needs_number in VISITS:
        if match := form.fullmatch(name):
            base = re.sub(rf"{BETWEEN}$", "", match[1])
            last = base.rpartition("/")[2]
            word = re.split("[-_ .]+", last)[-1]
            general = GENERAL.fullmatch(word) or COLLECTION.fullmatch(last)
            if last and not general and (re.search(r"\d", last) or not needs_number):
                return base
    return ""
