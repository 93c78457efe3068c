"""What do readers cost that hold every file against its header, beside a decoder that is believed?

Run    python -m benchmarks.packing [--data FOLDER]
Gives  the time to pack a set of pictures with cv2.imread alone (A) and with brainseg's readers, as
       median (lowest to highest) of rounds in which both take turns, and the ratio of the two. Half
       a minute on two cores. Without --data it makes patients up.

(A) decodes image and mask, resizes both, counts grey levels and writes the slice, in as many
threads as brainseg has. It asks no file how many pages, which planes or what kind of samples it
has, and would take whatever OpenCV returns.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.build import resized_mask, write_arrays
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import single_threaded

SIDE, ROUNDS = 128, 7


class Times(NamedTuple):
    wall: float
    cpu: float  # of all threads


def believed(folder: Path, table: pd.DataFrame, root: Path) -> None:
    """(A)."""
    slices = np.lib.format.open_memmap(
        folder / "slices.npy", "w+", np.uint8, (len(table), SIDE, SIDE, 4)
    )
    histograms = np.zeros((len(table), 3, 256), np.uint32)

    def write(row: int) -> None:
        image_HWC = cv2.imread(str(root / table["image"].iloc[row]), cv2.IMREAD_UNCHANGED)
        mask_HW = cv2.imread(str(root / table["mask"].iloc[row]), cv2.IMREAD_UNCHANGED)
        assert image_HWC is not None and mask_HW is not None
        small_HWC = cv2.resize(image_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        mask_HW = resized_mask((mask_HW > 0).astype(np.uint8), SIDE)
        slices[row] = np.dstack([small_HWC[..., ::-1], mask_HW])
        flat = small_HWC.reshape(-1, 3).T
        histograms[row] = [np.bincount(channel, minlength=256) for channel in flat]

    with single_threaded(), ThreadPoolExecutor() as pool:
        list(pool.map(write, range(len(table))))
    slices.flush()
    np.save(folder / "histograms.npy", histograms)


def timed(pack: Callable[[Path], None]) -> Times:
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        pack(Path(folder))
        return Times(time.perf_counter() - wall, time.process_time() - cpu)


def shown(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made_up:
        root = options.data or write_phantoms(
            Path(made_up), patients=24, slices=35, size=256, seed=0
        )
        table = find_slices(root)
        ways: dict[str, Callable[[Path], None]] = {
            "cv2.imread": lambda folder: believed(folder, table, root),
            "brainseg": lambda folder: write_arrays(folder, table, root, (SIDE, SIDE, 4)),
        }
        for pack in ways.values():
            timed(pack)  # files come into memory
        times = {name: list[Times]() for name in ways}
        for _ in range(ROUNDS):
            for name, pack in ways.items():
                times[name].append(timed(pack))
    print(f"{len(table)} slices, {SIDE} pixels, {os.cpu_count()} cores, {ROUNDS} rounds")
    for name, taken in times.items():
        wall, cpu = [t.wall for t in taken], [t.cpu for t in taken]
        print(f"{name:<11}{shown(wall)} s, {shown(cpu)} CPU-s")
    pairs = list(zip(times["brainseg"], times["cv2.imread"], strict=True))
    print(
        f"ratio      {shown([ours.wall / plain.wall for ours, plain in pairs])} by the clock, "
        f"{shown([ours.cpu / plain.cpu for ours, plain in pairs])} by CPU time"
    )


if __name__ == "__main__":
    main()
