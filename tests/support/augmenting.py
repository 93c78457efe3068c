"""A slice with a square of tumour, and what an augmentation makes of it."""

import numpy as np

from brainseg.data.pipeline.augment import Augment, Pixels

STILL = dict(rotate_degrees=0.0, shift=0.0, zoom=0.0, hflip=0.0, vflip=0.0)
STRONG = Augment(rotate_degrees=30, shift=0.1, zoom=0.2, hflip=0.5, vflip=0.5)
IMAGE_HWC = np.random.default_rng(0).integers(1, 255, (32, 32, 3), np.uint8)
MASK_HW = np.zeros((32, 32), np.uint8)
MASK_HW[8:20, 10:16] = 1


def apply(
    augment: Augment,
    image_HWC: Pixels,
    mask_HW: Pixels,
    seed: int = 0,
    epoch: int = 0,
    sample: int = 0,
) -> tuple[Pixels, Pixels]:
    moved_HWD = np.full((*mask_HW.shape, image_HWC.shape[2] + 1), 99, np.uint8)
    slice_HWD = np.dstack([image_HWC, mask_HW])
    augment(slice_HWD, moved_HWD, seed=seed, epoch=epoch, sample=sample)
    return moved_HWD[..., :-1], moved_HWD[..., -1]


def moved(augment: Augment, seed: int = 0, epoch: int = 0, sample: int = 0) -> bytes:
    image, mask = apply(augment, IMAGE_HWC, MASK_HW, seed, epoch, sample)
    return image.tobytes() + mask.tobytes()
