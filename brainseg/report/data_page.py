"""What a check found as one HTML page, which loads nothing and so opens anywhere, or as a PNG."""

from collections.abc import Iterator
from pathlib import Path

from brainseg.data.quality.check import Findings
from brainseg.data.quality.outliers import Odd
from brainseg.data.readers.images import read_image, read_mask
from brainseg.records.files import write_text
from brainseg.report.data_terminal import facts, headline, verdict
from brainseg.report.figures import data, slices
from brainseg.report.figures.slices import Tile
from brainseg.report.formatting import plain
from brainseg.report.html import Html, document, figure, safe, table

WORDS = ("file", "found", "rule", "what to do")


def write_page(findings: Findings, path: Path) -> Path:
    summary = findings.summary
    named = {plain(patient): volume for patient, volume in summary["tumour_volume"].items()}
    volumes = data.volume_histogram(named, summary["tumour_volume_unit"])
    caption = "A tick is a patient: point at it for the name."
    sections = {
        "Problems": _problems(findings),
        "Notes": Html("".join(f"<p>{safe(plain(note))}</p>" for note in findings.notes)),
        "Tumour volume": figure(volumes, caption) if summary["slices"] else Html(),
        "Slices worth a look": _slices(findings),
    }
    write_text(path, document(findings.root.name, _head(findings), sections))
    return path


def write_picture(findings: Findings, path: Path) -> Path:
    """Write the histogram and the slices alone."""
    summary = findings.summary
    picture = data.contact_sheet(
        summary["tumour_volume"], summary["tumour_volume_unit"], list(_tiles(findings))
    )
    path.write_bytes(picture)
    return path


def _head(findings: Findings) -> Html:
    said = "".join(
        f"<div><dt>{name}</dt>{''.join(f'<dd>{safe(line)}</dd>' for line in lines)}</div>"
        for name, lines in facts(findings.summary).items()
    )
    result = (
        f'<p class="warn">{verdict(findings)}</p>'
        if findings.problems
        else (f'<p class="lead">{verdict(findings)}</p>')
    )
    return Html(
        f'<p class="note">brainseg check · {safe(plain(str(findings.root)))}</p>\n'
        f"<h1>{headline(findings)}</h1>\n"
        f'{result}\n<dl class="facts">{said}</dl>'
    )


def _problems(findings: Findings) -> Html:
    rows = [
        {
            "file": plain(problem.file),
            "found": plain(problem.found),
            "rule": problem.rule,
            "what to do": problem.remedy,
        }
        for problem in findings.problems
    ]
    return table(rows, [""] * len(rows), words=WORDS, wrapped=WORDS)


def _slices(findings: Findings) -> Html:
    panels = "\n".join(
        f"<figure>{slices.slice_tile(tile)}<figcaption>{safe(tile.caption)}</figcaption></figure>"
        for tile in _tiles(findings)
    )
    if not panels:
        return Html()
    return Html(
        '<p class="note">Outlined: the mask. Brightness is scaled slice by slice. A file that '
        f'cannot be read cannot be shown.</p><div class="slices">{panels}</div>'
    )


def _tiles(findings: Findings) -> Iterator[Tile]:
    for odd in findings.odd:
        tile = _tile(findings.root, odd)
        if tile is not None:
            yield tile


def _tile(root: Path, odd: Odd) -> Tile | None:
    """The slice, without outline if the mask is no mask of it; None if there is nothing to show."""
    place = odd.index, odd.axis
    try:
        image_HWC = read_image(root, odd.image, *place)
    except ValueError:
        return None
    planes = [image_HWC[..., c] for c in odd.channels if c < image_HWC.shape[2]]
    try:
        mask_HW = read_mask(root, odd.mask, *place) if odd.mask else None
    except ValueError:
        mask_HW = None
    if mask_HW is not None and mask_HW.shape != image_HWC.shape[:2]:
        mask_HW = None
    return Tile(plain(f"{odd.name}: {odd.why}"), planes, mask_HW)
