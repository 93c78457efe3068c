"""Augmentation follows from (seed, epoch, sample) alone and moves image and mask as one."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from albumentations import (
    Affine,
    Compose,
    HorizontalFlip,
    VerticalFlip,
)

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.data.pipeline.augment import BLOCK, Augment, Move, Pixels
from tests.support.augmenting import IMAGE_HWC, MASK_HW, STILL, STRONG, apply, moved

SLICE_HWD = np.dstack([IMAGE_HWC, MASK_HW])


def test_no_strength_gives_back_the_input() -> None:
    image, mask = apply(Augment(**STILL), IMAGE_HWC, MASK_HW)
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
        image, mask = apply(STRONG, image_HWC, MASK_HW, sample=sample)
        differs = (image[..., 0] > 127) != (mask == 1)
        assert differs.sum() < 0.15 * MASK_HW.sum()  # the rim, where one is smooth and one is not


def test_the_mask_stays_binary_and_both_stay_bytes_of_the_same_shape() -> None:
    for sample in range(20):
        image, mask = apply(STRONG, IMAGE_HWC, MASK_HW, sample=sample)
        assert image.shape == (32, 32, 3) and image.dtype == np.uint8
        assert mask.shape == (32, 32) and mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}


def test_what_enters_the_frame_is_black_and_no_tumour() -> None:
    shift = Augment(**STILL | {"shift": 0.5})
    image, mask = apply(shift, IMAGE_HWC, np.ones((32, 32), np.uint8))
    assert 0 < (mask == 0).sum() < mask.size
    assert (image[mask == 0] == 0).all()


def test_the_two_flips_are_drawn_independently() -> None:
    corner_HW = np.zeros((4, 4), np.uint8)
    corner_HW[0, 0] = 1
    flips = Augment(**STILL | {"hflip": 0.5, "vflip": 0.5})
    image_HWC = np.zeros((4, 4, 3), np.uint8)
    masks = [apply(flips, image_HWC, corner_HW, sample=s)[1] for s in range(200)]
    corners = np.array([[m[0, 0], m[0, -1], m[-1, 0], m[-1, -1]] for m in masks]).sum(axis=0)
    assert corners.sum() == 200
    assert corners.min() > 30


def test_a_certain_flip_is_the_mirror_image() -> None:
    mirror = Augment(**STILL | {"hflip": 1.0})
    image, mask = apply(mirror, IMAGE_HWC, MASK_HW)
    assert np.array_equal(image, IMAGE_HWC[:, ::-1])
    assert np.array_equal(mask, MASK_HW[:, ::-1])


def test_zoom_scales_both_axes_alike() -> None:
    square_HW = np.zeros((64, 64), np.uint8)
    square_HW[16:48, 16:48] = 1
    zoom = Augment(**STILL | {"zoom": 0.4})
    image_HWC = np.zeros((64, 64, 3), np.uint8)
    sides = set()
    for sample in range(20):
        _, mask = apply(zoom, image_HWC, square_HW, sample=sample)
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert abs(int(rows) - int(columns)) <= 1
        sides.add(int(rows))
    assert min(sides) < 26 and max(sides) > 38
    assert min(sides) >= 0.6 * 32 - 1 and max(sides) <= 1.4 * 32 + 1


def test_a_read_only_input_is_left_as_it_is() -> None:
    for channels in (1, 2, 3, 4):
        slice_HWD = np.repeat(SLICE_HWD[..., -1:], channels + 1, axis=2)
        slice_HWD.flags.writeable = False
        moved_HWD = np.zeros_like(slice_HWD)
        STRONG(slice_HWD, moved_HWD, seed=0, epoch=0, sample=0)
        assert moved_HWD.any() and (slice_HWD == MASK_HW[..., None]).all()


# Against albumentations, given the same move


def as_albumentations(move: Move, mask_interpolation: int) -> Compose:
    affine = Affine(
        rotate=(move.rotate_degrees, move.rotate_degrees),
        translate_percent={
            "x": (move.shift_x, move.shift_x),
            "y": (move.shift_y, move.shift_y),
        },
        scale=(move.scale, move.scale),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=mask_interpolation,
        p=1.0,
    )
    return Compose([affine, HorizontalFlip(p=move.hflip), VerticalFlip(p=move.vflip)])


def blobs(height: int, width: int) -> Pixels:
    noise = np.random.default_rng(1).random((height, width))
    return (cv2.GaussianBlur(noise, (0, 0), 3) > 0.5).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 48)])
def test_one_warp_equals_affine_and_flips_of_albumentations(
    height: int, width: int, channels: int
) -> None:
    """Noise differs by a grey level at most: where to read from is rounded in another order.

    With 2 channels by 8: there OpenCV itself reads from the nearest 32nd of a pixel. The mask
    equals one that albumentations interpolates linearly, but for a pixel in 10 000 that is 0.5 to
    within rounding; from its default, the nearest pixel, it differs only at rims.
    """
    tolerance = 8 if channels == 2 else 1
    shape = (height, width, channels)
    image_HWC = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    mask_HW, thrice = blobs(height, width), np.ones((3, 3), np.uint8)
    other = 0
    for sample in range(60):
        move = STRONG.move(seed=7, epoch=1, sample=sample)
        image, mask = apply(STRONG, image_HWC, mask_HW, seed=7, epoch=1, sample=sample)
        linear = as_albumentations(move, cv2.INTER_LINEAR)(image=image_HWC, mask=mask_HW)
        difference = linear["image"].reshape(shape).astype(int) - image
        assert np.abs(difference).max() <= tolerance
        other += (linear["mask"] != mask).sum()
        nearest = as_albumentations(move, cv2.INTER_NEAREST)(image=image_HWC, mask=mask_HW)["mask"]
        rim = cv2.dilate(nearest, thrice) != cv2.erode(nearest, thrice)
        assert not ((nearest != mask) & ~rim).any()
    assert other <= 1e-4 * 60 * mask_HW.size


def test_what_is_drawn_spans_its_range_and_is_drawn_evenly() -> None:
    moves = [STRONG.move(seed=0, epoch=0, sample=sample) for sample in range(2000)]
    for name, low, high in (
        ("rotate_degrees", -30, 30),
        ("shift_x", -0.1, 0.1),
        ("shift_y", -0.1, 0.1),
        ("scale", 0.8, 1.2),
    ):
        drawn = np.array([getattr(move, name) for move in moves])
        counts, _ = np.histogram(drawn, bins=10, range=(low, high))
        assert counts.sum() == 2000 and counts.min() > 140 and counts.max() < 260
    for name in ("hflip", "vflip"):
        assert 0.45 < np.mean([getattr(move, name) for move in moves]) < 0.55
    drawn = np.array(moves, dtype=float)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.1


def test_samples_within_and_across_blocks_have_different_moves() -> None:
    edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5_000_000]
    assert len({STRONG.move(seed=0, epoch=0, sample=sample) for sample in edges}) == len(edges)
    assert len({moved(STRONG, sample=sample) for sample in edges}) == len(edges)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rotate_degrees", 181, "rotate_degrees must be from 0 to 180, got 181.0"),
        ("shift", -0.1, "shift must be from 0 to 0.9, got -0.1"),
        ("shift", 0.95, "shift must be from 0 to 0.9, got 0.95"),
        ("zoom", 0.95, "zoom must be from 0 to 0.9, got 0.95"),
        ("hflip", 1.5, "hflip must be from 0 to 1, got 1.5"),
        ("vflip", float("nan"), "vflip must be a finite number, got nan"),
    ],
)
def test_a_strength_out_of_the_config_s_range_is_refused(
    name: str, value: float, message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Augment(**STILL | {name: value})
    assert str(error.value) == message
    with pytest.raises(ValueError, match=name):
        build(TrialConfig(), {f"augment.{name}": value})
