"""Masks that are equal to the pixel: one person under two names, or one mask for many images.

Two people's tumours are never drawn alike, so patients who share a mask are linked. Within a
patient, neighbouring slices that were interpolated share theirs, up to COPIES.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.quality.summary import KEPT
from brainseg.data.readers.problems import Problem, counted, some

COPIES = 3  # tumour slices with one mask, on average, from which a patient is named


def patients_of_one_mask(table: pd.DataFrame, digests: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of patients with a mask in common; ``digests`` are those of the rows' masks."""
    pairs = {
        (str(first), str(other))
        for _, (first, *others) in _owners(table, digests).items()
        for other in others
    }
    return sorted(pairs)


def mask_notes(
    table: pd.DataFrame, digests: Sequence[str], known: Collection[tuple[str, str]] = ()
) -> Iterator[str]:
    """What equal masks say, a sentence each; not of ``known`` pairs, who share images as well."""
    first = pd.Series(table["mask"].to_numpy()).groupby(list(digests)).first()
    told = {frozenset(pair) for pair in known}
    owners = _owners(table, digests).items()
    shared = {digest: names for digest, names in owners if frozenset(names) not in told}
    if shared:
        where = [f"{first[digest]} in {', '.join(owners)}" for digest, owners in shared.items()]
        yield (
            f"{counted(len(shared), 'mask')} of two or more patients, equal to the pixel: "
            f"{some(where, '; ')}; one may be a copy by mistake, or the patients one person. Every "
            f"split keeps {KEPT}"
        )
    rows = pd.DataFrame({"patient": table["patient"].to_numpy(), "digest": list(digests)})
    rows = rows[rows["digest"] != ""]
    counts = rows.groupby("patient")["digest"].agg(["size", "nunique"])
    few = counts[counts["size"] >= COPIES * counts["nunique"]]
    if len(few):
        rows_of = few.itertuples()
        named = [f"{patient} ({n} slices, {counted(k, 'mask')})" for patient, n, k in rows_of]
        yield (
            f"the masks of many slices are equal to the pixel in {len(few)} of "
            f"{table['patient'].nunique()} patients: {some(named)}; check that each was drawn for "
            "its slice"
        )


def shown_mask(
    image: str, image_HWC: NDArray[Any], mask: str, mask_HW: NDArray[np.uint8]
) -> Iterator[Problem]:
    """The problem of an image with a channel that is its mask."""
    tumour_HW = mask_HW != 0
    if not tumour_HW.any() or image_HWC.shape[:2] != tumour_HW.shape:
        return
    for channel in range(image_HWC.shape[2]):
        plane_HW = image_HWC[..., channel]
        low, high = plane_HW.min(), plane_HW.max()
        if low < high and np.array_equal(plane_HW, np.where(tumour_HW, high, low)):
            rule, fault = "an image must not show its mask", f"is {mask} in channel {channel}"
            yield Problem(image, rule, fault, "name the scan, or leave that channel out")


def padded_tumour(
    image: str, padded_HW: NDArray[np.bool_] | None, mask: str, mask_HW: NDArray[np.uint8]
) -> Iterator[Problem]:
    """The problem of an image without numbers where its mask marks tumour."""
    if padded_HW is None or padded_HW.shape != mask_HW.shape or not mask_HW[padded_HW].any():
        return
    rule, fault = "an image must hold numbers in the tumour", f"holds NaN where {mask} marks it"
    yield Problem(image, rule, fault, "correct what made them, or the mask")


def _owners(table: pd.DataFrame, digests: Sequence[str]) -> dict[str, list[str]]:
    """The patients of each mask that several have."""
    rows = pd.DataFrame({"patient": table["patient"].to_numpy(), "digest": list(digests)})
    rows = rows[rows["digest"] != ""].drop_duplicates()
    owners = rows.groupby("digest", sort=False)["patient"].agg(list)
    return {str(digest): names for digest, names in owners.items() if len(names) > 1}
