"""What a check found as one HTML page, which loads nothing and so opens anywhere, or as a PNG."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brainseg.data.quality.check import Findings
from brainseg.data.quality.outliers import Outlier
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.process import plain
from brainseg.records.files import write_text
from brainseg.report.data_terminal import facts, headline, verdict
from brainseg.report.figures import data, slices, style
from brainseg.report.figures.slices import Picture, Tile
from brainseg.report.html import Figure, render


@dataclass(frozen=True, kw_only=True)
class DrawnTile:
    """A tile as the page shows it."""

    caption: str
    picture: Picture
    outline: str  # of the mask, as an SVG path


def write_page(findings: Findings, path: Path) -> Path:
    page = render(
        "data",
        title=plain(findings.root.name),
        root=str(findings.root),
        headline=headline(findings),
        verdict=verdict(findings),
        facts=facts(findings.summary),
        problems=findings.problems,
        notes=findings.notes,
        volumes=_volumes(findings) if findings.summary["slices"] else None,
        tiles=[_drawn(tile) for tile in _tiles(findings)],
        outline_colour=style.TRUTH,
    )
    write_text(path, page)
    return path


def write_picture(findings: Findings, path: Path) -> Path:
    """Write the histogram and the slices alone."""
    summary = findings.summary
    picture = data.contact_sheet(
        summary["tumour_volume"], summary["tumour_volume_unit"], list(_tiles(findings))
    )
    path.write_bytes(picture)
    return path


def _volumes(findings: Findings) -> Figure:
    summary = findings.summary
    volumes = {plain(patient): volume for patient, volume in summary["tumour_volume"].items()}
    return Figure(
        data.volume_histogram(volumes, summary["tumour_volume_unit"]),
        "Each tick is a patient: point at it for the name.",
    )


def _drawn(tile: Tile) -> DrawnTile:
    return DrawnTile(
        caption=tile.caption,
        picture=slices.picture_of_tile(tile),
        outline=slices.outline_of_tile(tile),
    )


def _tiles(findings: Findings) -> Iterator[Tile]:
    for outlier in findings.outliers:
        tile = _tile(findings.root, outlier)
        if tile is not None:
            yield tile


def _tile(root: Path, outlier: Outlier) -> Tile | None:
    """The slice, without outline if its mask cannot be used; None if it cannot be read."""
    try:
        image_HWC = read_image(root, outlier.image, *outlier.cut)
    except ValueError:
        return None
    channels = [image_HWC[..., c] for c in outlier.channels if c < image_HWC.shape[2]]
    try:
        mask_HW = (
            read_mask(root, outlier.mask, *outlier.cut, outlier.label) if outlier.mask else None
        )
    except ValueError:
        mask_HW = None
    if mask_HW is not None and mask_HW.shape != image_HWC.shape[:2]:
        mask_HW = None
    return Tile(plain(f"{outlier.name}: {outlier.why}"), channels, mask_HW)
