"""Which slices of two patients show the same: equal, or saved again, brightened, resized.

Neighbouring slices of one patient always resemble each other, so within a patient only equal ones
are reported. Slices of two patients show the same if the signs of their low frequencies nearly
agree and their fine structure, at 48x48 pixels, correlates above ALIKE. docs/log.md says what that
finds and what it misses: copies that were cropped, shifted or mirrored.

Shapes: H rows, W columns, C channels, N slices, P pixels of a thumbnail, B bytes of signs.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.pack.extremes import FEW, without_extremes
from brainseg.data.persons import alike_names
from brainseg.data.readers.images import read_image
from brainseg.data.readers.memo import memoised
from brainseg.data.table import CUT

SIDE = 48  # pixels of a thumbnail
LOW_BITS = 12  # of 64 that may differ; up to 12 did between slices and changed copies
MID_BITS = 24  # of 128 that may differ; up to 15 did
ALIKE = 0.96  # correlation; up to 0.88 between 24 real patients, hardly ever below 0.97 of copies
BLANK = 0.25  # of the patient's highest contrast; slices below it show too little to compare
TINY = 1e-30  # above 0, for division
BLOCK = 1 << 22  # pairs compared at a time: 32 MB
ON_DISK = np.dtype(
    [("exact", "S32"), ("signs", "u1", 24), ("detail", "i1", SIDE**2), ("contrast", "f8")]
)


@dataclass(frozen=True)
class Hash:
    """What is compared of one slice."""

    exact: str  # of the decoded pixels: does not depend on the file format
    signs_B: NDArray[np.uint8]  # of the lowest spatial frequencies, 8 bytes, and the next, 16
    detail_P: NDArray[np.int8]  # fine structure, of mean 0
    contrast: float  # standard deviation of the thumbnail, in the image's own grey levels


@dataclass(frozen=True)
class Twins:
    """Two rows of a table whose slices show the same."""

    first: int
    second: int
    equal: bool  # to the pixel


def hash_slice(image_HWC: NDArray[Any]) -> Hash:
    planes_CHW = np.ascontiguousarray(image_HWC.transpose(2, 0, 1))
    digest = hashlib.blake2b(f"{planes_CHW.shape} {planes_CHW.dtype}".encode(), digest_size=16)
    digest.update(planes_CHW.data)
    thumbnail = _thumbnail(planes_CHW)
    contrast = float(thumbnail.std())
    thumbnail -= thumbnail.min()
    thumbnail /= max(float(thumbnail.max()), TINY)
    return Hash(digest.hexdigest(), _signs(thumbnail), _detail(thumbnail), contrast)


def hash_slices(table: pd.DataFrame, root: Path) -> list[Hash]:
    """The hash of every row; a ValueError names the first image that cannot be read.

    Images whose hashes are known, and that have not changed since, are not read.
    """
    places = list(table[["image", *CUT]].itertuples(index=False, name=None))
    rows = memoised("hashes", root, places, lambda place: _row(read_image(root, *place)), ON_DISK)
    return [
        Hash(row["exact"].decode(), row["signs"], row["detail"], row["contrast"]) for row in rows
    ]


def _row(image_HWC: NDArray[Any]) -> tuple[Any, ...]:
    hashed = hash_slice(image_HWC)
    return hashed.exact, hashed.signs_B, hashed.detail_P, hashed.contrast


def group_patients(
    table: pd.DataFrame, hashes: Sequence[Hash], others: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Every patient's group, named after its first patient; a split keeps a group in one part.

    Patients are linked if they share a slice, or by their names, see data/persons.py;
    ``others`` are pairs that are linked for another reason.
    """
    patients = table["patient"].tolist()
    group = {patient: patient for patient in sorted(set(patients))}
    links = [(patients[twins.first], patients[twins.second]) for twins in twins(table, hashes)]
    for pair in (*links, *alike_names(group), *others):
        low, high = sorted(_root(group, patient) for patient in pair)
        group[high] = low
    return {patient: _root(group, patient) for patient in group}


def twins(table: pd.DataFrame, hashes: Sequence[Hash]) -> list[Twins]:
    """Slices of different patients that show the same, without blank ones."""
    rows = np.flatnonzero(~_blank(table, hashes)).tolist()
    compared = [hashes[row] for row in rows]
    return [
        Twins(rows[i], rows[j], equal=compared[i].exact == compared[j].exact)
        for i, j in _near(compared, table["patient"].to_numpy()[rows])
    ]


def repeats(table: pd.DataFrame, hashes: Sequence[Hash]) -> list[Twins]:
    """Slices that equal an earlier one of the same patient, without blank ones."""
    rows = pd.DataFrame({"patient": table["patient"].to_numpy()})
    rows["exact"] = [slice_hash.exact for slice_hash in hashes]
    rows = rows[np.array([slice_hash.contrast > 0 for slice_hash in hashes], bool)]
    same = (rows.index[place] for place in rows.groupby(["patient", "exact"]).indices.values())
    return [Twins(int(a), int(b), equal=True) for group in same for a, b in pairwise(group)]


def _thumbnail(planes_CHW: NDArray[Any]) -> NDArray[np.float32]:
    """The mean of the channels at SIDE x SIDE pixels, each the mean of those it covers."""
    planes = [_without_padding(plane_HW) for plane_HW in planes_CHW]
    small = [cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in planes]
    mean: NDArray[np.float32] = np.mean(small, axis=0, dtype=np.float32)
    return mean


def _without_padding(plane_HW: NDArray[Any]) -> NDArray[Any]:
    """The plane with its padding black: two patients may share it. Two values show nothing."""
    low, high = plane_HW.min(), plane_HW.max()
    if ((plane_HW == low) | (plane_HW == high)).all():
        return np.zeros(plane_HW.shape, np.float32)
    if plane_HW.dtype == np.uint8:  # no value is far enough from the others
        return plane_HW
    picture = without_extremes(plane_HW)
    low, high = picture.rising[0], picture.rising[-1]
    above = plane_HW > high
    shown_HW: NDArray[np.float32] = np.clip(plane_HW, low, high).astype(np.float32)
    if np.count_nonzero(above) > FEW * above.size:  # as padding; fewer are bright
        shown_HW[above] = picture.black
    return shown_HW


def _signs(thumbnail: NDArray[np.float32]) -> NDArray[np.uint8]:
    frequencies = cv2.dct(thumbnail)
    low, *mid = (frequencies[place] for place in (np.s_[:8, :8], np.s_[8:16, :8], np.s_[:8, 8:16]))
    low[0, 0] = 0  # the mean grey level
    return np.packbits([low > np.median(low), *(band > 0 for band in mid)])


def _detail(thumbnail: NDArray[np.float32]) -> NDArray[np.int8]:
    """The thumbnail minus a blurred copy of it."""
    detail_P = (thumbnail - cv2.GaussianBlur(thumbnail, (0, 0), 2)).ravel()
    detail_P -= detail_P.mean()
    largest = max(float(np.abs(detail_P).max()), TINY)
    return np.asarray(np.rint(127 * detail_P / largest), np.int8)


def _blank(table: pd.DataFrame, hashes: Sequence[Hash]) -> NDArray[np.bool_]:
    contrast = pd.Series([slice_hash.contrast for slice_hash in hashes], dtype=float)
    richest = contrast.groupby(table["patient"].to_numpy()).transform("max")
    blank: NDArray[np.bool_] = (contrast <= BLANK * richest).to_numpy()
    return blank


def _near(hashes: Sequence[Hash], patients: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Positions of slices of different patients that show the same, by bits, then by detail."""
    signs_NB = np.array([slice_hash.signs_B for slice_hash in hashes], np.uint8).reshape(-1, 24)
    low_N, *mid = np.ascontiguousarray(signs_NB.view(np.uint64).T)
    detail_NP = np.array([slice_hash.detail_P for slice_hash in hashes], np.int8).reshape(
        -1, SIDE**2
    )
    owner_N = pd.factorize(patients)[0]
    rows = max(1, BLOCK // max(1, len(hashes)))
    for start in range(0, len(hashes), rows):
        stop = start + rows
        close = np.bitwise_count(low_N[start:stop, None] ^ low_N[None, start:]) <= LOW_BITS
        low, high = np.array(np.nonzero(close)) + start
        close = (low < high) & (owner_N[low] != owner_N[high])
        close &= sum(np.bitwise_count(N[low] ^ N[high]) for N in mid) <= MID_BITS
        low, high = low[close], high[close]
        for few in np.array_split(np.arange(len(low)), 1 + len(low) // 4096):
            i, j = low[few], high[few]
            same = _correlation(detail_NP[i], detail_NP[j]) > ALIKE
            yield from zip(i[same].tolist(), j[same].tolist(), strict=True)


def _correlation(first_NP: NDArray[np.int8], second_NP: NDArray[np.int8]) -> NDArray[np.float32]:
    a, b = first_NP.astype(np.float32), second_NP.astype(np.float32)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: NDArray[np.float32] = np.einsum("np,np->n", a, b) / np.maximum(lengths, TINY)
    return cosine


def _root(group: dict[str, str], patient: str) -> str:
    while group[patient] != patient:
        patient = group[patient]
    return patient
