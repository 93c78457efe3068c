"""What is no part of a picture does not set the scale of its grey levels, whatever its type."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainseg.data.pack.intensity import intensity_range, to_bytes

TYPES = (np.int16, np.uint16, np.int32, np.float32, np.float64)
SHARE = 1 / 5  # of the grey levels that the head keeps, whatever lies beside it


def head(width: float = 15.0, middle: float = 300.0, seed: int = 0) -> NDArray[np.float64]:
    """Slices of a head with a bright ball in it, and air of 0."""
    rng = np.random.default_rng(seed)
    X, Y, Z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 40, 10)), indexing="ij")
    values = np.where(X**2 + Y**2 + Z**2 < 0.9, rng.normal(middle, width, X.shape), 0.0)
    ball = (X - 0.1) ** 2 + Y**2 + Z**2 < 0.08
    return np.maximum(values + 5 / 6 * middle * ball, 0)


def levels(values: NDArray[Any], of: NDArray[np.bool_]) -> int:
    """Grey levels that some voxels keep, mapped by the range of all."""
    return len(np.unique(mapped(values)[of]))


def mapped(values: NDArray[Any]) -> NDArray[np.uint8]:
    image_HWC = values.reshape(len(values), -1, 1)
    return to_bytes(image_HWC, intensity_range([image_HWC])).reshape(values.shape)


def as_type(values: NDArray[np.float64], dtype: Any) -> NDArray[Any]:
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("values", [(-1e5,), (1e5,), (-1e5, 1e5), (1e30, -700, -2e4), (4e4,) * 9])
def test_a_few_voxels_far_away_do_not_set_the_scale(dtype: Any, values: tuple[float, ...]) -> None:
    image = head()
    image[0, 0, : len(values)] = values
    inside = head() > 100
    assert levels(as_type(image, dtype), inside) > 0.9 * levels(as_type(head(), dtype), inside)


@pytest.mark.parametrize("count", [1, 10, 19, 20, 30, 40, 90, 97, 150, 1000])
@pytest.mark.parametrize("value", [-1e5, 1e5, -32768.0, 65535.0])
def test_there_is_no_number_of_voxels_between_an_outlier_and_padding(
    count: int, value: float
) -> None:
    image, inside = head().ravel(), (head() > 100).ravel()
    image[:count], inside[:count] = value, False
    assert levels(image.reshape(48, 40, 10), inside.reshape(48, 40, 10)) > 60


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ends", [(-32768,), (-1024,), (-1,), (65535,), (4095,), (-32768, 32767)])
def test_padding_does_not_set_the_scale(dtype: Any, ends: tuple[float, ...]) -> None:
    image, inside = head(), head() > 100
    for place, value in zip((slice(6), slice(-6, None)), ends, strict=False):
        image[place], inside[place] = value, False
    assert levels(as_type(image, dtype), inside) > 0.9 * levels(as_type(head(), dtype), inside)


@pytest.mark.parametrize("beyond", [-1e5, -33_000, 1e6])
def test_padding_is_found_behind_an_outlier(beyond: float) -> None:
    image, inside = head(), head() > 100
    image[:6], inside[:6] = -32768, False
    image[0, 0, 0] = beyond
    assert levels(image, inside) > 70


def test_what_resampling_blends_with_padding_does_not_set_the_scale() -> None:
    image, inside = head(), head() > 100
    image[:6] = -32768
    share = np.random.default_rng(0).random(image[6].shape)
    image[6] = share * image[6] - 32768 * (1 - share)
    inside[:7] = False
    assert levels(image, inside) > 30


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("padding", [None, 0])
def test_a_picture_stored_with_an_offset_keeps_its_levels(dtype: Any, padding: int | None) -> None:
    image, inside = head() + 32_768, head() > 100
    if padding is not None:
        image[:6], inside[:6] = padding, False
    assert levels(as_type(image, dtype), inside) > 30


@pytest.mark.parametrize(
    ("values", "beside"),
    [
        ([0.0] * 900 + [1.0] * 100, [-1e5]),
        ([0.0] * 900 + [1.0] * 100, [-32768.0] * 300),
        ([0.0] * 500 + [1.0] * 200 + [3.0] * 300, [65535.0] * 200),
        ([300.0] * 500 + [700.0] * 500, [-1e5, 1e5, *[-1024.0] * 500]),
    ],
)
def test_few_values_stay_apart_beside_what_is_left_out(
    values: list[float], beside: list[float]
) -> None:
    image_HWC = np.array([*values, *beside]).reshape(-1, 1, 1)
    grey = to_bytes(image_HWC, intensity_range([image_HWC]))[: len(values)]
    assert len(np.unique(grey)) == len(set(values))


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 900 + [1.0] * 100,
        [0.0] * 800 + [100.0] * 180 + [1000.0] * 20,
        [0.0] * 800 + [100.0] * 193 + [1000.0] * 7,
        [-1.0] * 900 + [1.0] * 100,
    ],
)
def test_pictures_of_few_values_keep_them_all(values: list[float]) -> None:
    image = np.array(values).reshape(10, 10, 10)
    assert len(np.unique(mapped(image))) == len(set(values))


def test_a_small_head_in_much_air_keeps_its_levels() -> None:
    image = np.zeros((128, 128, 16))
    image[:6, :6, :6] = np.linspace(50, 900, 216).reshape(6, 6, 6)
    assert levels(image, image > 0) > 200


def test_an_ordinary_picture_has_the_range_that_its_docstring_says() -> None:
    for image in (head(), head() - 20, head(width=80)):
        low, high = intensity_range([image.reshape(48, -1, 1)])[0]
        assert low == np.float32(min(0, image.min()))
        assert high == np.float32(np.percentile(image, 99.9))


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, 1e-40, 1e300, -1e300])
def test_a_constant_channel_is_one_level(value: float) -> None:
    assert len(np.unique(mapped(np.full((8, 8, 2), value)))) == 1


# Any head, any extremes

Extreme = st.sampled_from([-1e5, 1e5, -32768.0, 32767.0, -1024.0, -1.0, 65535.0, 4095.0, 1e30])


@settings(max_examples=300, deadline=None)
@given(
    data=st.lists(st.integers(0, 1000), min_size=2, max_size=40, unique=True),
    scale=st.sampled_from([1.0, 0.001, 3.7]),
    seed=st.integers(0, 2**16),
    few=st.lists(Extreme, max_size=8),
    low=st.sampled_from([None, -32768.0, -1024.0]),
    high=st.sampled_from([None, 65535.0, 32767.0]),
)
def test_the_head_keeps_a_share_of_its_levels(
    data: list[int],
    scale: float,
    seed: int,
    few: list[float],
    low: float | None,
    high: float | None,
) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(len(data)))
    inside = rng.choice(np.array(data) * scale, 16_000, p=shares)
    added = [*few, *([low] * 2000 if low is not None else ()), *([high] * 900 if high else ())]
    image = np.concatenate([inside, np.array(added)])
    image = rng.permutation(np.resize(image, 140 * 140)).reshape(14, 14, 100)
    alone = mapped(inside.reshape(10, 16, 100)).ravel()
    with_extremes = to_bytes(
        inside.reshape(10, -1, 1), intensity_range([image.reshape(14, -1, 1)])
    ).ravel()
    assert len(np.unique(with_extremes)) >= SHARE * len(np.unique(alone))
    order = np.argsort(inside, kind="stable")
    assert (np.diff(with_extremes[order].astype(int)) >= 0).all()


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40),
        min_size=1,
        max_size=300,
    )
)
def test_any_numbers_become_levels_that_rise_with_them(values: list[float]) -> None:
    image_HWC = np.array(values, np.float64).reshape(-1, 1, 1)
    range_C2 = intensity_range([image_HWC])
    assert np.isfinite(range_C2).all() and range_C2[0, 0] < range_C2[0, 1]
    grey = to_bytes(np.sort(image_HWC, axis=0), range_C2)[:, 0, 0]
    assert (np.diff(grey.astype(int)) >= 0).all()
    assert np.array_equal(intensity_range([image_HWC[::-1]]), range_C2)
