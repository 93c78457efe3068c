"""From a case's probabilities to its files, and a row for each mask.

Shapes: H rows, W columns of a slice; 3 is true positive, false positive, false negative pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xxhash
from numpy.typing import NDArray

from brainseg.data.channels import flair_channel
from brainseg.data.formats.for_model import Images
from brainseg.data.formats.listing import is_volume
from brainseg.data.pack.intensity import intensity_range, to_bytes
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.problems import Problem, Refused
from brainseg.data.table import CUT, MILLIMETRES
from brainseg.data.writers.nifti import write_like
from brainseg.data.writers.overlay import write_overlay
from brainseg.data.writers.pictures import write_mask, write_probabilities
from brainseg.inference.description import HALF
from brainseg.inference.model import Probabilities
from brainseg.inference.postprocess import largest_component
from brainseg.inference.predict.names import mask_name, overlay_name, probability_name
from brainseg.inference.predict.options import Options

Mask = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A mask that was written.

    Attributes:
        image, mask: paths in the input and in the output.
        slice: number of a picture's slice; None of a volume.
        slices: how many the mask has.
        tumour_pixels, at_half: at the threshold, and at 0.5.
        ml: of the tumour; None where the spacing is unknown.
        counts_3, counts_at_half_3: None where there is no true mask.
        files: of the output, mask first, by the XXH3 of their contents.
        input: what the case was made from, see ``record.input_digest``.
    """

    image: str
    mask: str
    case: str
    slice: int | None
    slices: int
    tumour_pixels: int
    tumour_pixels_at_half: int
    ml: float | None
    largest_probability: float
    counts: list[int] | None
    counts_at_half: list[int] | None
    files: dict[str, str]
    input: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Written:
    """The rows of a case, and what its true masks are not good for."""

    rows: list[Row] = field(default_factory=list)
    problem: str = ""


class Writer:
    """Writes the files of cases into a folder.

    Attributes:
        masks: of each image, by its files.
        clashes: images with a file that would stand in the place of another image's, and that one.
    """

    def __init__(self, images: Images, out: Path, options: Options, channels: int) -> None:
        self.images, self.out, self.options = images, out, options
        self.shown = flair_channel(images.channels, channels) or 0  # in overlays
        self.label = "".join(images.table["label"].unique()[:1])
        self.masks: dict[str, str] = {}
        self.clashes: dict[str, str] = {}
        taken: dict[str, str] = {}
        for image, places in images.table.groupby("image", sort=False):
            self.masks[str(image)] = mask_name(images.layout, str(image), images.root)
            for name in self._names(str(image), places["index"]):
                if taken.setdefault(name, str(image)) != image:
                    self.clashes.setdefault(str(image), taken[name])

    def _names(self, image: str, indices: Iterable[int]) -> list[str]:
        """Of all files that an image may get."""
        names, root = [self.masks[image]], self.images.root
        if self.options.probabilities:
            names.append(probability_name(image, root))
        if self.options.overlay:
            names += [overlay_name(image, root, int(index)) for index in indices]
        return names

    def write(
        self, case: str, slices: pd.DataFrame, probabilities: Sequence[Probabilities], digest: str
    ) -> Written:
        """Write a case; ``slices`` are its rows of the table, ``digest`` is kept in its rows.

        Raises:
            ValueError: probabilities that are no numbers; the largest component of slices that
                differ in size.
            OSError: the folder cannot be written to.
        """
        _require_finite(probabilities)
        together = _together(slices)
        masks = _masks(probabilities, self.options.threshold, self.options, together)
        at_half = _masks(probabilities, HALF, self.options, together)
        truths, problem = self._truths(slices, masks)
        rows = []
        for image, places in slices.reset_index(drop=True).groupby("image", sort=False):
            at = places.index.tolist()
            true = [truths[k] for k in at] if truths else []
            files = self._write_files(
                str(image), places, [masks[k] for k in at], [probabilities[k] for k in at]
            )
            if self.options.overlay:
                files += self._write_overlays(str(image), places, [masks[k] for k in at], true)
            row = places.iloc[0]
            voxel_ml = float(np.prod(row[list(MILLIMETRES)].to_numpy(float))) / 1000
            pixels = sum(int(masks[k].sum()) for k in at)
            rows.append(
                Row(
                    image=str(image),
                    mask=files[0],
                    case=case,
                    slice=None if is_volume(str(image)) else int(row["slice"]),
                    slices=len(at),
                    tumour_pixels=pixels,
                    tumour_pixels_at_half=sum(int(at_half[k].sum()) for k in at),
                    ml=None if np.isnan(voxel_ml) else pixels * voxel_ml,
                    largest_probability=max(float(probabilities[k].max()) for k in at),
                    counts=_counts([masks[k] for k in at], true),
                    counts_at_half=_counts([at_half[k] for k in at], true),
                    files={name: content_of(self.out / name) for name in files},
                    input=digest,
                )
            )
        return Written(rows, problem)

    def unscored(self, slices: pd.DataFrame) -> str:
        """Why the true mask of a case was not listed; "" if it has none, or is locked."""
        reasons = self.images.unscored
        return next((reasons[image] for image in slices["image"] if image in reasons), "")

    def _truths(self, slices: pd.DataFrame, masks: Sequence[Mask]) -> tuple[list[Mask], str]:
        """The true masks of a case, [] where one is missing; and why they cannot be used."""
        if not slices["mask"].all():
            return [], self.unscored(slices)
        truths = []
        columns = ["mask", *CUT, "label"]
        places = slices[columns].itertuples(index=False, name=None)
        for place, mask_HW in zip(places, masks, strict=True):
            try:
                true_HW = read_mask(self.images.root, *place)
                if true_HW.shape != mask_HW.shape:
                    rule, fault = "a mask must have the size of its image", "has another"
                    raise Refused(Problem(place[0], rule, fault, "export both at one size"))
            except Refused as refusal:
                return [], str(refusal)
            truths.append(true_HW)
        return truths, ""

    def _write_files(
        self,
        image: str,
        places: pd.DataFrame,
        masks: Sequence[Mask],
        probabilities: Sequence[Probabilities],
    ) -> list[str]:
        """Write the mask, and the probabilities if asked for; their names, the mask's first."""
        mask, probability = self.masks[image], probability_name(image, self.images.root)
        row = places.iloc[0]
        source = confined(self.images.root, image.split(JOINT)[0])
        if is_volume(image):
            write_like(self._path(mask), masks, source, row["axis"], row["orientation"])
            if self.options.probabilities:
                path = self._path(probability)
                write_like(path, probabilities, source, row["axis"], row["orientation"])
        else:
            write_mask(self._path(mask), masks[0])
            if self.options.probabilities:
                write_probabilities(self._path(probability), probabilities[0])
        return [mask, probability] if self.options.probabilities else [mask]

    def _write_overlays(
        self, image: str, places: pd.DataFrame, masks: Sequence[Mask], true: Sequence[Mask]
    ) -> list[str]:
        """Write an overlay of each picture, and of a volume's slices with tumour; their names."""
        cuts = list(places[["image", *CUT]].itertuples(index=False, name=None))
        images = [read_image(self.images.root, *place) for place in cuts]
        range_C2 = intensity_range(images)
        greys = [to_bytes(image_HWC, range_C2)[..., self.shown] for image_HWC in images]
        brightest = max(1, max(int(grey_HW.max()) for grey_HW in greys))
        names = []
        for k, (grey_HW, index) in enumerate(zip(greys, places["index"], strict=True)):
            if is_volume(image) and not (masks[k].any() or (true and true[k].any())):
                continue
            name = overlay_name(image, self.images.root, int(index))
            bright_HW = (grey_HW.astype(np.uint16) * 255 // brightest).astype(np.uint8)
            write_overlay(self._path(name), bright_HW, masks[k], true[k] if true else None)
            names.append(name)
        return names

    def _path(self, name: str) -> Path:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def content_of(path: Path) -> str:
    """The XXH3 of a file's content, as data/readers/contents.py has it."""
    return xxhash.xxh3_128(path.read_bytes()).hexdigest()


def _require_finite(probabilities: Sequence[Probabilities]) -> None:
    if not all(np.isfinite(slice_HW).all() for slice_HW in probabilities):
        raise ValueError(
            "a model must give probabilities, this one gives numbers that are not finite; try "
            "--precision float32, or take another model"
        )


def _together(slices: pd.DataFrame) -> list[list[int]]:
    """The slices of a case that lie on each other: of each volume, or all pictures."""
    images = slices["image"].reset_index(drop=True)
    volumes = images.where(images.map(is_volume), "")
    return [rows.index.tolist() for _, rows in images.groupby(volumes, sort=False)]


def _masks(
    probabilities: Sequence[Probabilities],
    threshold: float,
    options: Options,
    together: Sequence[Sequence[int]],
) -> list[Mask]:
    masks = [(slice_HW > threshold).astype(np.uint8) for slice_HW in probabilities]
    if not options.largest_component:
        return masks
    for rows in together:
        if len({masks[k].shape for k in rows}) > 1:
            raise ValueError(
                "slices must have one size for the largest component, these differ; leave out "
                "--largest-component"
            )
        largest = largest_component(np.stack([masks[k] for k in rows]))
        for k, mask_HW in zip(rows, largest, strict=True):
            masks[k] = mask_HW
    return masks


def _counts(masks: Sequence[Mask], true: Sequence[Mask]) -> list[int] | None:
    """True positive, false positive, false negative pixels of all slices."""
    if not true:
        return None
    tp = sum(int((m & t).sum()) for m, t in zip(masks, true, strict=True))
    marked, is_tumour = (sum(int(m.sum()) for m in of) for of in (masks, true))
    return [tp, marked - tp, is_tumour - tp]
