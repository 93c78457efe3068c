"""A folder of made-up patients that tests damage, and what a check says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from brainseg.data.quality.check import Findings

SLICES = 6
UNREADABLE = "every image and mask must be readable"
SHARED = "an image must belong to one patient only"


@dataclass(frozen=True)
class Data:
    """A folder of made-up patients in the LGG layout."""

    root: Path

    def image(self, patient: int, number: int) -> Path:
        return self.root / f"PHANTOM_{patient:04d}" / f"PHANTOM_{patient:04d}_{number}.tif"

    def mask(self, patient: int, number: int) -> Path:
        image = self.image(patient, number)
        return image.with_name(f"{image.stem}_mask.tif")

    def with_tumour(self, patient: int) -> int:
        """A slice of the patient that has tumour."""
        masks = ((n, read(self.mask(patient, n))) for n in range(1, SLICES + 1))
        return next(number for number, mask_HW in masks if mask_HW.any())

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def read(path: Path) -> NDArray[Any]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


def change(path: Path, how: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    assert cv2.imwrite(str(path), how(read(path)))


def reported(findings: Findings) -> list[tuple[str, str, str]]:
    return [(problem.file, problem.rule, problem.fault) for problem in findings.problems]


def only(findings: Findings) -> tuple[str, str, str]:
    assert len(findings.problems) == 1, reported(findings)
    return reported(findings)[0]
