"""Augmentation with an extra of albumentations: noise, or an elastic deformation."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from brainseg.data.pipeline.augment import Augment
from tests.support.augmenting import IMAGE_HWC, MASK_HW, STILL, apply, moved

MIRROR = STILL | {"hflip": 1.0}
NOISY, ELASTIC = Augment(**MIRROR, extra="noise"), Augment(**MIRROR, extra="elastic")
GREY_HWC = np.full((32, 32, 3), 128, np.uint8)


def changed(augment: Augment, samples: int = 200) -> list[int]:
    """The samples that the extra of ``augment`` changes."""
    plain = moved(Augment(**MIRROR))
    return [sample for sample in range(samples) if moved(augment, sample=sample) != plain]


@pytest.mark.parametrize("augment", [NOISY, ELASTIC], ids=["noise", "elastic"])
def test_an_extra_comes_after_the_geometry_in_a_fifth_of_the_samples(augment: Augment) -> None:
    assert 20 < len(changed(augment)) < 65


def test_noise_spares_the_mask_and_is_a_few_percent_of_the_range() -> None:
    stray = []
    for sample in changed(NOISY):
        image, mask = apply(NOISY, GREY_HWC, MASK_HW, sample=sample)
        assert np.array_equal(mask, MASK_HW[:, ::-1])
        stray.append(image.std() / 255)
        channels = image.reshape(-1, 3).T.astype(float)
        assert np.abs(np.corrcoef(channels) - np.eye(3)).max() < 0.2, "its own in each channel"
    assert 0.005 < min(stray) < 0.02 and 0.04 < max(stray) < 0.065


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_a_deformation_bends_image_and_mask_alike(channels: int) -> None:
    """By some percent of the side at most, whatever the size: 2.3 pixels of 128 here."""
    mask_HW = np.zeros((128, 128), np.uint8)
    mask_HW[32:96, 32:96] = 1
    image_HWC = np.repeat(mask_HW[:, :, None] * np.uint8(255), channels, axis=2)
    bent = 0
    for sample in changed(ELASTIC, samples=60):
        image, mask = apply(ELASTIC, image_HWC, mask_HW, sample=sample)
        assert set(np.unique(mask)) == {0, 1} and image.shape == image_HWC.shape
        assert ((image[..., 0] > 127) != (mask == 1)).sum() < 0.03 * mask_HW.sum()
        assert (np.ptp(image, axis=2) <= 1).all(), "every channel by the same field"
        moved_pixels = (mask != mask_HW[:, ::-1]).sum() / 256  # of a rim of 256 pixels
        assert moved_pixels < 8
        bent += moved_pixels > 0.5
    assert bent > 5


@pytest.mark.parametrize("augment", [NOISY, ELASTIC], ids=["noise", "elastic"])
def test_an_extra_follows_seed_epoch_and_sample_alone(augment: Augment) -> None:
    alone = [moved(augment, sample=s) for s in range(64)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: moved(augment, sample=s), range(64)))
    assert together == alone
    hit = changed(augment)[0]
    assert moved(pickle.loads(pickle.dumps(augment)), sample=hit) == moved(augment, sample=hit)
    images = {moved(augment, seed, epoch, hit) for seed in range(8) for epoch in range(8)}
    assert len(images) > 5, "another seed or epoch, another draw"


def test_one_thread_may_take_slices_of_two_sizes_in_turn() -> None:
    large_HWC = np.repeat(np.repeat(IMAGE_HWC, 2, 0), 2, 1)
    large_HW = np.repeat(np.repeat(MASK_HW, 2, 0), 2, 1)
    sample = changed(ELASTIC)[0]
    first = apply(ELASTIC, large_HWC, large_HW, sample=sample)
    moved(ELASTIC, sample=sample)
    again = apply(ELASTIC, large_HWC, large_HW, sample=sample)
    assert all(np.array_equal(left, right) for left, right in zip(first, again, strict=True))


def test_an_unknown_extra_is_refused() -> None:
    with pytest.raises(ValueError, match="extra must be one of none, noise, elastic, got 'blur'"):
        Augment(**STILL, extra="blur")
