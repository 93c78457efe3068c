"""Any tree of names, whatever it holds, is accounted for: each thing once, and nothing is lost."""

import gzip
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg.data.formats.account import IMAGE, MASK, TROUBLED, USED
from brainseg.data.formats.detect import LAYOUTS, Contents, scan
from brainseg.data.formats.listing import COPY, is_picture, is_volume
from brainseg.data.readers.paths import JOINT
from tests.support.scans import noise, write_volume

EXAMPLES = 300

PATIENTS = ["P1", "P2", "P3", "TCGA_CS_4941_19960909", "Seg", "脳", "Müller", "Müller"]
SUFFIXES = ".tif .TIF .tiff .png .jpg .nii.gz .nii .NII.GZ .bmp .dcm .mha .zip .tif.gz .json .txt "
WORDS = "_1 _2 _12 _1_mask _2_mask _12_Mask _flair _t1 _seg _0000 _0001 _1_0000 _mask _last"
COPIES = ["_1 copy", "_1 (2)", "_1_mask copy", "", " copy"]
ODD = ".DS_Store ._P1_1.tif Thumbs.db README.md LICENSE data.csv a|b.tif \udce9.tif * 1.2.840.113 "
DESCRIPTIONS = ["dataset.json", "scans.csv", "a\nb.png", "\x1b[31m", "mask", "-rf", "~"]
TOPS = "images masks imagesTr labelsTr imagesTs siteA ses-1 .git .hidden docs Images train a|b"

patients = st.sampled_from([*PATIENTS, "P1 copy"])
suffixes = st.sampled_from([*SUFFIXES.split(), ".", "", ".123", ".tif~"])
words = st.sampled_from([*WORDS.split(), *COPIES])
files = st.builds("".join, st.tuples(patients, words, suffixes))
odd_names = st.sampled_from([*ODD.split(), *DESCRIPTIONS])
folders = st.sampled_from(["", "", *TOPS.split()])
places = st.builds(
    lambda *parts: "/".join(filter(None, parts)),
    folders,
    st.one_of(st.just(""), patients, patients, folders),
    st.one_of(st.just(""), st.just(""), folders),
)
kinds = st.sampled_from(
    ["file"] * 12 + ["folder", "dead link", "link to file", "link to folder", "link out", "fifo"]
)
things = st.tuples(places, st.one_of(files, files, files, odd_names), kinds)


def slice_files(layout: str, patient: str, number: str, suffix: str) -> list[str]:
    """The files of a slice, or of a volume, as a layout has them."""
    name = f"{patient}_{number}"
    return {
        "lgg": [f"{patient}/{name}{end}{suffix}" for end in ("", "_mask")],
        "pairs": [f"{part}/{name}{suffix}" for part in ("images", "masks")],
        "nnunet": [
            f"labelsTr/{name}{suffix}",
            *(f"imagesTr/{name}_{channel:04}{suffix}" for channel in range(len(number))),
            "dataset.json",
        ],
        "nifti": [f"{patient}/{patient}_{word}.nii.gz" for word in ("seg", "flair", "t1")],
        "manifest": ["scans.csv", "P1/P1_1.tif", "P1/P1_1_mask.tif"],
    }[layout]


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[tuple[str, str]], str]:
    """Paths, each with what is there: a file, a folder, a link; and a layout to read them in."""
    layout = draw(st.sampled_from(LAYOUTS))
    suffix = draw(st.sampled_from([".tif", ".png", ".TIFF"] + [".nii"] * (layout == "nnunet")))
    numbers = st.sampled_from(["1", "2", "12", "last", "2b"])
    cases = draw(st.lists(st.tuples(patients, numbers), max_size=6))
    taken = [name for case in cases for name in slice_files(layout, *case, suffix)]
    taken = [name for name in taken if draw(st.integers(0, 14))]
    others = draw(st.lists(things, max_size=8))
    tree = [(name, draw(st.sampled_from(["file"] * 14 + ["dead link"]))) for name in taken]
    tree += [(f"{place}/{name}".lstrip("/"), kind) for place, name, kind in others]
    return tree, draw(st.sampled_from([layout, "auto", "auto", *LAYOUTS]))


def plant(root: Path, tree: list[tuple[str, str]], volume: bytes) -> None:
    """Make what can be made: a path may run through a file, or be taken."""
    os.mkdir(root)
    for name, kind in tree:
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):
                continue
            if kind == "file":
                path.write_bytes(content_of(path.name, volume))
            elif kind == "folder":
                path.mkdir()
            elif kind == "fifo":
                os.mkfifo(path)
            else:
                path.symlink_to(
                    {
                        "dead link": "../.annex/none",
                        "link to file": next(root.rglob("*.tif"), "none"),
                        "link to folder": root,
                        "link out": root.parent,
                    }[kind]
                )
        except (FileExistsError, NotADirectoryError):
            continue


def content_of(name: str, volume: bytes) -> bytes:
    if name == "dataset.json":
        return b'{"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumour": 1}}'
    if name == "scans.csv":
        return b"image,mask,patient\nP1/P1_1.tif,P1/P1_1_mask.tif,P1\n"
    if name.lower().endswith(".nii.gz"):
        return gzip.compress(volume, 1)
    return volume if name.lower().endswith(".nii") else b""


def things_in(root: Path) -> list[str]:
    """What lies under a root, without what is in folders that are not looked into."""
    seen = []
    for folder, below, names in os.walk(root):
        inside = [os.path.relpath(f"{folder}/{name}", root) for name in below + names]
        closed = [name for name in below if name.startswith(".") or name != as_text(name)]
        links = [name for name in below if os.path.islink(f"{folder}/{name}")]
        opened = [name for name in below if name not in (*closed, *links) and JOINT not in name]
        seen += [name for name in inside if os.path.basename(name) not in opened]
        if not inside and folder != str(root):
            seen.append(os.path.relpath(folder, root))
        below[:] = opened
    return seen


def as_text(name: str) -> str:
    return name.encode(errors="replace").decode()


def meant(layout: str, name: str) -> bool:
    """Whether a layout may not leave a file unused that is no copy."""
    top = name.partition("/")[0]
    if layout in ("lgg", "nifti"):
        return is_picture(name) if layout == "lgg" else is_volume(name)
    tops = {"pairs": ("images", "masks"), "nnunet": ("imagesTr", "labelsTr")}.get(layout, ())
    return top in tops and (is_picture(name) or (is_volume(name) and layout == "nnunet"))


def hold(root: Path, contents: Contents) -> None:
    """That everything has one role, the right one."""
    roles = contents.account.roles
    assert sorted(roles) == sorted(things_in(root))
    used = {role: {name for name in roles if roles[name] == role} for role in (IMAGE, MASK)}
    images = {name for joined in contents.table["image"] for name in joined.split(JOINT)}
    assert used[IMAGE] == images and used[MASK] == set(contents.table["mask"]) - images
    assert all(os.path.isfile(root / name) for name in used[IMAGE] | used[MASK])
    assert contents.problems or TROUBLED not in roles.values()
    unused = {name: role for name, role in roles.items() if role not in USED}
    assert bool(unused) == bool(contents.account.unused)
    regular = {name for name in unused if os.path.isfile(root / name)}
    lost = [name for name in regular if meant(contents.layout, name) and unused[name] != COPY]
    assert [name for name in lost if not hidden_or_link(root, name)] == []


def hidden_or_link(root: Path, name: str) -> bool:
    return name.rpartition("/")[2].startswith(".") or (root / name).is_symlink()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("volume") / "v.nii"
    return write_volume(path, noise(2, 4, 4)).read_bytes()


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
@given(trees())
def test_each_thing_in_any_tree_is_used_a_problem_or_counted(
    volume: bytes, case: tuple[list[tuple[str, str]], str]
) -> None:
    tree, layout = case
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        root = Path(folder).resolve() / "root"
        plant(root, tree, volume)
        try:
            contents = scan(root, layout)
        except ValueError as refusal:
            assert str(refusal).startswith("root must ")
        else:
            hold(root, contents)
