"""A confirmation whose patients have a site and a tumour size."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.records.run import Run
from tests.support.confirm_run import RESNET, VGG, add_configuration, confirmation

LOST = 0.3  # of Dice, by which vgg16 is behind on site B


def by_site(folder: Path, sites: str, *, pixels: list[int] | None = None, mm: float = 1.0) -> Run:
    """Two configurations that differ at site B alone; ``sites`` has a letter a patient."""
    run = confirmation(folder, patients=len(sites))
    describe(run, sites, pixels or [100 * n for n in range(len(sites))], mm)
    site_P = np.array(list(sites))
    add_configuration(run, RESNET, _dice(0, len(sites)))
    add_configuration(run, VGG, _dice(1, len(sites)) - LOST * (site_P == "B"))
    return run


def describe(run: Run, sites: str, pixels: list[int], mm: float) -> None:
    table = pd.read_csv(run.slices).assign(site=list(sites.replace("-", " ")))
    table["site"] = table["site"].str.strip()
    table["tumour_pixels"] = pixels
    table.assign(row_mm=mm, column_mm=mm, slice_mm=mm).to_csv(run.slices, index=False)


def _dice(draw: int, patients: int) -> NDArray[np.float64]:
    return 0.8 + 0.02 * np.random.default_rng(draw).standard_normal((2, patients))
