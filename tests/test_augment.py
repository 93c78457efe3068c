"""Augmentation follows from (seed, epoch, sample) alone and moves image and mask as one."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from brainseg.augment import Augment

STILL = dict(rotate_degrees=0.0, shift=0.0, zoom=0.0, hflip=0.0, vflip=0.0)
STRONG = Augment(rotate_degrees=30, shift=0.1, zoom=0.2, hflip=0.5, vflip=0.5)

IMAGE_HWC = np.random.default_rng(0).integers(1, 255, (32, 32, 3), np.uint8)
MASK_HW = np.zeros((32, 32), np.uint8)
MASK_HW[8:20, 10:16] = 1


def moved(augment: Augment, seed: int = 0, epoch: int = 0, sample: int = 0) -> bytes:
    image, mask = augment(IMAGE_HWC, MASK_HW, seed=seed, epoch=epoch, sample=sample)
    return image.tobytes() + mask.tobytes()


def test_no_strength_gives_back_the_input() -> None:
    image, mask = Augment(**STILL)(IMAGE_HWC, MASK_HW, seed=1, epoch=2, sample=3)
    assert np.array_equal(image, IMAGE_HWC)
    assert np.array_equal(mask, MASK_HW)


def test_seeds_epochs_and_samples_each_make_a_difference() -> None:
    draws = {
        moved(STRONG, seed, epoch, sample)
        for seed in range(3)
        for epoch in range(4)
        for sample in range(5)
    }
    assert len(draws) == 60


def test_the_order_of_calls_changes_nothing() -> None:
    forward = [moved(STRONG, sample=s) for s in range(8)]
    backward = [moved(STRONG, sample=s) for s in reversed(range(8))]
    assert forward == backward[::-1]


def test_another_augment_of_the_same_strengths_draws_the_same() -> None:
    again = pickle.loads(pickle.dumps(STRONG))
    assert again == STRONG
    assert moved(again, 1, 2, 3) == moved(STRONG, 1, 2, 3)


def test_threads_that_share_one_augment_do_not_disturb_each_other() -> None:
    alone = [moved(STRONG, sample=s) for s in range(64)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: moved(STRONG, sample=s), range(64)))
    assert together == alone


def test_image_and_mask_move_alike() -> None:
    image_HWC = np.repeat(MASK_HW[:, :, None] * np.uint8(255), 3, axis=2)
    for sample in range(20):
        image, mask = STRONG(image_HWC, MASK_HW, seed=0, epoch=0, sample=sample)
        differs = (image[..., 0] > 127) != (mask == 1)
        assert differs.sum() < 0.15 * MASK_HW.sum()  # the rim, where one is smooth and one is not


def test_the_mask_stays_binary_and_both_stay_bytes_of_the_same_shape() -> None:
    for sample in range(20):
        image, mask = STRONG(IMAGE_HWC, MASK_HW, seed=0, epoch=0, sample=sample)
        assert image.shape == (32, 32, 3) and image.dtype == np.uint8
        assert mask.shape == (32, 32) and mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}


def test_what_enters_the_frame_is_black_and_no_tumour() -> None:
    shift = Augment(**STILL | {"shift": 0.5})
    image, mask = shift(IMAGE_HWC, np.ones((32, 32), np.uint8), seed=0, epoch=0, sample=0)
    assert 0 < (mask == 0).sum() < mask.size
    assert (image[mask == 0] == 0).all()


def test_both_flips_are_drawn_apart() -> None:
    corner_HW = np.zeros((4, 4), np.uint8)
    corner_HW[0, 0] = 1
    flips = Augment(**STILL | {"hflip": 0.5, "vflip": 0.5})
    image_HWC = np.zeros((4, 4, 3), np.uint8)
    masks = [flips(image_HWC, corner_HW, seed=0, epoch=0, sample=s)[1] for s in range(200)]
    corners = np.array([[m[0, 0], m[0, -1], m[-1, 0], m[-1, -1]] for m in masks]).sum(axis=0)
    assert corners.sum() == 200
    assert corners.min() > 30


def test_a_certain_flip_is_the_mirror_image() -> None:
    mirror = Augment(**STILL | {"hflip": 1.0})
    image, mask = mirror(IMAGE_HWC, MASK_HW, seed=0, epoch=0, sample=0)
    assert np.array_equal(image, IMAGE_HWC[:, ::-1])
    assert np.array_equal(mask, MASK_HW[:, ::-1])


def test_zoom_scales_both_axes_alike() -> None:
    square_HW = np.zeros((64, 64), np.uint8)
    square_HW[16:48, 16:48] = 1
    zoom = Augment(**STILL | {"zoom": 0.4})
    image_HWC = np.zeros((64, 64, 3), np.uint8)
    sides = set()
    for sample in range(20):
        _, mask = zoom(image_HWC, square_HW, seed=0, epoch=0, sample=sample)
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert abs(int(rows) - int(columns)) <= 1
        sides.add(int(rows))
    assert min(sides) < 26 and max(sides) > 38
    assert min(sides) >= 0.6 * 32 - 1 and max(sides) <= 1.4 * 32 + 1


def test_a_read_only_input_is_left_as_it_is() -> None:
    image_HWC, mask_HW = IMAGE_HWC.copy(), MASK_HW.copy()
    image_HWC.flags.writeable = mask_HW.flags.writeable = False
    STRONG(image_HWC, mask_HW, seed=0, epoch=0, sample=0)
    assert np.array_equal(image_HWC, IMAGE_HWC)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rotate_degrees", 181, "rotate_degrees must lie within 0 and 180, got 181; try 180"),
        ("shift", -0.1, "shift must lie within 0 and 1, got -0.1; try 0"),
        ("zoom", 1.0, "zoom must lie within 0 and 0.99, got 1.0; try 0.99"),
        ("hflip", 1.5, "hflip must lie within 0 and 1, got 1.5; try 1"),
        ("vflip", float("nan"), "vflip must lie within 0 and 1, got nan; try 0"),
    ],
)
def test_a_strength_out_of_range_is_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Augment(**STILL | {name: value})
    assert str(error.value) == message
