"""What figures decide, with the figures given."""

import pytest

from brainseg.training.compute.rules import (
    compute_of,
    gain_of,
    implementation_of,
    layout_of,
    precision_of,
)


def steps(plain: float, last: float, bfloat16: float) -> dict[str, float]:
    names = ("float32", "float32, channels last", "bfloat16, channels last")
    return dict(zip(names, (plain, last, bfloat16), strict=True))


ZEN5 = {
    "resnet50": steps(1.15, 1.0, 0.58),
    "vgg16": steps(1.06, 1.0, 0.52),
    "efficientnet-b0": steps(1.16, 1.0, 0.87),
    "mobilenet_v2": steps(1.24, 1.0, 0.75),
    "mit_b0": steps(1.11, 1.0, 0.64),
}
# AVX512-BF16 without AMX: the flag is there, and float32 is faster.
XEON = {"resnet50": steps(1.0, 0.98, 1.34), "mobilenet_v2": steps(1.0, 0.9, 1.12)}


def test_bfloat16_is_taken_where_it_is_faster_and_not_where_the_flag_alone_is_there() -> None:
    assert precision_of(ZEN5.values()) == "bfloat16"
    assert precision_of(XEON.values()) == "float32"
    assert precision_of([steps(1.0, 1.0, 0.5)]) == "bfloat16"


def test_one_family_that_bfloat16_slows_below_eager_keeps_the_sweep_in_float32() -> None:
    assert precision_of([*ZEN5.values(), XEON["resnet50"]]) == "float32"
    assert precision_of([*ZEN5.values(), steps(1.0, 0.9, 1.01)]) == "float32"


def test_a_sweep_gains_where_one_family_alone_would_be_faster_in_float32_with_channels_last() -> (
    None
):
    efficientnet = steps(0.381, 0.277, 0.314)  # 64 px, AMD EPYC, see docs/log.md
    assert precision_of([efficientnet]) == "float32"
    assert precision_of([*ZEN5.values(), efficientnet]) == "bfloat16"


def test_noise_does_not_choose_between_equals() -> None:
    for noise in (0.98, 1.0, 1.02):
        assert precision_of([steps(1.0, 1.0, noise)]) == "float32"
        assert not layout_of(steps(1.0, noise, 1.0), "float32")


def test_bfloat16_is_compared_with_the_faster_of_the_layouts_of_float32() -> None:
    assert gain_of(steps(2.0, 1.0, 1.5)) == pytest.approx(1 / 1.5)
    assert gain_of(steps(1.0, 2.0, 1.5)) == pytest.approx(1 / 1.5)


def test_what_could_not_be_measured_is_not_chosen() -> None:
    assert precision_of([]) == precision_of([{}]) == "float32"
    assert precision_of([{"float32": 1.0}]) == "float32"
    assert precision_of([{"bfloat16, channels last": 1.0}]) == "float32"
    assert not layout_of({}, "float32") and not layout_of({"float32": 1.0}, "float32")
    assert layout_of({"float32, channels last": 1.0}, "float32")
    assert implementation_of({}, 1.0) == "loop"


def test_the_simplest_optimizer_is_taken_unless_another_shortens_the_step() -> None:
    assert implementation_of({"loop": 0.05, "foreach": 0.05, "fused": 0.02}, 1.0) == "fused"
    assert implementation_of({"loop": 0.05, "foreach": 0.02, "fused": 0.02}, 1.0) == "foreach"
    assert implementation_of({"loop": 0.025, "foreach": 0.02, "fused": 0.02}, 1.0) == "loop"
    assert implementation_of({"loop": 0.05, "foreach": 0.03}, 1.0) == "foreach", "fused failed"


def test_a_family_follows_the_run_s_precision_in_its_own_layout() -> None:
    updates = {"loop": 0.1, "foreach": 0.1, "fused": 0.01}
    here = compute_of(ZEN5["vgg16"], updates, "float32")
    assert (here.precision, here.channels_last, here.optimizer) == ("float32", True, "fused")
    slow = compute_of(XEON["resnet50"], updates, "bfloat16")
    assert (slow.precision, slow.channels_last) == ("bfloat16", True)
    assert not compute_of(XEON["resnet50"], updates, "float32").channels_last
