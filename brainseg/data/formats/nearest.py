"""Which layout a folder of no known layout comes nearest to, and what is not as it should be."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from brainseg.data.formats.listing import is_picture, is_volume, stem
from brainseg.data.formats.manifest import NEEDED, tables
from brainseg.data.formats.nifti_folders import MASK
from brainseg.data.readers.delimited import header
from brainseg.data.readers.problems import counted

TWINS = {"nnunet": ("imagesTr", "labelsTr"), "pairs": ("images", "masks")}


def nearest_layout(root: Path, names: Sequence[str]) -> str:
    """`pairs, but masks/ is missing`; "" where no file can be read at all."""
    return next(_misfits(root, names), "")


def _misfits(root: Path, names: Sequence[str]) -> Iterator[str]:
    """What each layout lacks, the likeliest first."""
    for name in tables(names):
        if has := [column for column in NEEDED if header(root / name, [column])]:
            lacks = ", ".join(column for column in NEEDED if column not in has)
            yield f"manifest, but {name} has no column {lacks}"
    pictures = [name for name in names if is_picture(name)]
    volumes = [name for name in names if is_volume(name)]
    for layout, twins in TWINS.items():
        if misfit := _misfit(twins, names):
            yield f"{layout}, but {misfit}"
    if volumes and len(volumes) >= len(pictures):
        masks = [name for name in volumes if MASK.search(stem(name))]
        if masks and len(masks) < len(volumes):
            lie = (
                "lies in another folder than its image"
                if len(masks) == 1
                else ("lie in other folders than their images")
            )
            yield f"nifti, but {_counted(masks, 'mask')} {lie}"
        if len(masks) == len(volumes):
            yield f"nifti, but holds {_counted(masks, 'mask')} and no image (.nii, .nii.gz)"
        lack = "without one named *mask*, *seg* or *label* in their folder"
        yield f"nifti, but holds {_counted(volumes, 'volume')} {lack}"
    if pictures:
        yield f"lgg, but holds {_counted(pictures, 'picture')} without <name>_mask beside them"


def _misfit(twins: tuple[str, str], names: Sequence[str]) -> str:
    """How two folders are not where they should be; "" where neither holds images."""
    at: dict[str, dict[str, str]] = {}  # of each folder above: its folders by how they should be
    for name in names:
        *folders, _ = name.split("/")
        for depth, folder in enumerate(folders):
            for twin in twins:
                if folder.casefold() == twin.casefold():
                    at.setdefault("/".join(folders[:depth]), {})[twin] = folder
    if not at:
        return ""
    above, both = max(at.items(), key=lambda place: (len(place[1]), -len(place[0])))
    paths = {twin: f"{above}/{folder}" if above else folder for twin, folder in both.items()}
    empty = [path for path in paths.values() if not _hold_images(names, path)]
    if len(empty) == len(paths):
        return ""
    if lacking := [twin for twin in twins if twin not in both]:
        return f"{lacking[0]}/ is missing beside {next(iter(paths.values()))}/"
    if empty:
        return f"{empty[0]}/ holds no image that can be read"
    if wrong := [twin for twin in twins if both[twin] != twin]:
        return f"{paths[wrong[0]]}/ must be called {wrong[0]}/"
    if not above:
        return f"{twins[0]}/ and {twins[1]}/ hold volumes: a manifest can list them"
    folders = [folder for folder, both in at.items() if len(both) == len(twins)]
    more = f" and {len(folders) - 1} more" if folders[1:] else ""
    return f"{' and '.join(f'{twin}/' for twin in twins)} lie in {above}/{more}"


def _hold_images(names: Sequence[str], folder: str) -> bool:
    files = (name for name in names if name.startswith(f"{folder}/"))
    return any(is_picture(name) or is_volume(name) for name in files)


def _counted(names: Sequence[str], what: str) -> str:
    return f"{counted(len(names), what)} ({names[0]}{', ...' * (len(names) > 1)})"
