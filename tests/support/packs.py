"""Folders of slices that each have a colour of their own, and the packs made of them."""

from pathlib import Path

import cv2
import numpy as np

from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import Pack, open_pack


def write_folder(root: Path, count: int, height: int = 16, width: int = 16) -> Path:
    """`count` slices of one patient; slice n has the colour (n, 100, 200) and a tumour."""
    (root / "p").mkdir(parents=True, exist_ok=True)
    for n in range(1, count + 1):
        mask_HW = np.zeros((height, width), np.uint8)
        mask_HW[height // 4 : height // 2, width // 4 : width // 2] = 255
        image_HWC = np.full((height, width, 3), (200, 100, n), np.uint8)  # OpenCV: blue first
        cv2.imwrite(str(root / "p" / f"p_{n}.tif"), image_HWC)
        cv2.imwrite(str(root / "p" / f"p_{n}_mask.tif"), mask_HW)
    return root


def packed(root: Path, cache: Path, image_size: int = 16) -> Pack:
    return open_pack(find_slices(root), root, image_size=image_size, cache=cache)
