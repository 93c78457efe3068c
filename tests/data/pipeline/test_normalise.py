"""Grey levels: what the scanner's gain does to an image, the scaling takes back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.pipeline.normalise import scaling


def histograms(images_NHW: NDArray[np.uint8]) -> NDArray[np.uint32]:
    counts = [[np.bincount(image.ravel(), minlength=256)] * 3 for image in images_NHW]
    return np.array(counts, np.uint32)


def brain(rng: np.random.Generator, gain: float, slices: int = 3) -> NDArray[np.uint8]:
    """Half of it faint background, half tissue of many grey levels."""
    tissue = rng.uniform(40, 100, (slices, 16, 32))
    air = rng.uniform(0, 3, (slices, 16, 32))
    return (np.concatenate([air, tissue], axis=1) * gain).round().astype(np.uint8)


def scaled(images_NHW: NDArray[np.uint8], scale_NC3: NDArray[np.float32]) -> NDArray[np.float32]:
    ceiling, mean, deviation = (scale_NC3[:, 0, k][:, None, None] for k in range(3))
    return (np.minimum(images_NHW, ceiling) - mean) / deviation


def test_a_scanner_s_gain_disappears() -> None:
    dim, bright = (brain(np.random.default_rng(0), gain) for gain in (0.5, 2.0))
    both = np.concatenate([dim, bright])
    image = scaled(both, scaling(histograms(both), ["a"] * 3 + ["b"] * 3, "patient"))
    tissue = image[:, 16:]
    assert np.abs(tissue[:3] - tissue[3:]).max() < 0.1
    assert abs(tissue.mean()) < 0.02 and tissue.std() == pytest.approx(1, abs=0.02)


def test_statistics_are_pooled_over_the_patient_or_taken_of_each_image() -> None:
    images = brain(np.random.default_rng(1), 1.0, slices=4)
    images[2:] //= 2
    of_patient = scaling(histograms(images), ["p"] * 4, "patient")
    of_image = scaling(histograms(images), ["p"] * 4, "image")
    assert (of_patient == of_patient[:1]).all()
    assert of_image[0, 0, 1] > 1.8 * of_image[3, 0, 1]


def test_the_order_of_slices_does_not_matter() -> None:
    images = np.concatenate([brain(np.random.default_rng(k), 1 + k) for k in range(2)])
    patients = ["a"] * 3 + ["b"] * 3
    mixed = [5, 0, 3, 1, 4, 2]
    there = scaling(histograms(images), patients, "patient")
    here = scaling(histograms(images[mixed]), [patients[i] for i in mixed], "patient")
    assert (here == there[mixed]).all()


def test_few_very_bright_pixels_are_cut_off_and_change_nothing() -> None:
    images = brain(np.random.default_rng(2), 1.0)
    plain = scaling(histograms(images), ["p"] * 3, "patient")
    images[0, 20, :3] = 255
    hot = scaling(histograms(images), ["p"] * 3, "patient")
    assert hot[0, 0, 0] < 110
    assert hot == pytest.approx(plain, abs=1.0)


def test_imagenet_statistics_are_those_the_weights_were_trained_with() -> None:
    scale = scaling(np.zeros((2, 3, 256), np.uint32), ["a", "b"], "imagenet")
    assert scale[1, 1] / 255 == pytest.approx([1, 0.456, 0.224])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_has_a_scale_of_its_own_but_no_imagenet_statistics(
    channels: int,
) -> None:
    images = brain(np.random.default_rng(3), 1.0)
    counted = histograms(images)[:, [0] * channels]
    counted[:, -1] = histograms(images // 2)[:, 0]
    scale = scaling(counted, ["p"] * 3, "patient")
    assert scale.shape == (3, channels, 3)
    assert scale[0, -1, 1] < 0.6 * histogram_mean(images)
    with pytest.raises(ValueError) as error:
        scaling(counted, ["p"] * 3, "imagenet")
    assert str(error.value) == (
        f"normalise=imagenet needs images of 3 channels, these have {channels}; "
        "use --set normalise=patient or image"
    )


def histogram_mean(images_NHW: NDArray[np.uint8]) -> float:
    """Of the foreground."""
    return float(images_NHW[:, 16:].mean())


@pytest.mark.parametrize("how", ["patient", "image"])
def test_an_image_without_foreground_stays_finite(how: str) -> None:
    black = np.zeros((2, 8, 8), np.uint8)
    assert np.isfinite(scaled(black, scaling(histograms(black), ["p"] * 2, how))).all()
