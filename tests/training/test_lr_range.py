"""The bounds lie where the loss falls, on curves that are known and for a network that learns."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import exp, isfinite, log10, nan
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch

from brainseg.config.hyperparameters import Augmentation, Constant, Plain, TrialConfig
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.draw import split_by_patient
from brainseg.records.run import Run
from brainseg.training.guards.finite import NotFinite
from brainseg.training.lr_range import RangeCurve, range_test, read_bounds, suggest, write_curve
from brainseg.training.schedules import ScheduleFunction, Setting
from brainseg.training.trial import Trial
from tests.support.tasks import task_of
from tests.support.written import write_json

torch.set_num_threads(1)


def valley(lr: float) -> float:
    """A loss of 0.85 that falls by 0.4 around 1e-3, over a decade, and climbs again beyond 0.3."""
    x = log10(lr)
    return 0.85 - 0.4 / (1 + exp(-6 * (x + 3))) + 0.4 / (1 + exp(-12 * (x + 0.5)))


def curve_of(
    loss: Callable[[float], float], *, steps: int = 100, noise: float = 0.0, seed: int = 0
) -> RangeCurve:
    lrs = np.geomspace(1e-7, 10, steps).tolist()
    shaken = noise * np.random.default_rng(seed).standard_normal(steps)
    losses = [loss(lr) + shake for lr, shake in zip(lrs, shaken.tolist(), strict=True)]
    return RangeCurve(tuple(lrs), tuple(losses))


# What is suggested


@pytest.mark.parametrize("steps", [40, 100, 400])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_bounds_of_a_known_valley_are_where_its_slope_begins_and_nearly_ends(
    steps: int, noise: float
) -> None:
    for seed in range(10):
        bounds = suggest(curve_of(valley, steps=steps, noise=noise, seed=seed))
        # a tenth of the fall is done at 10 ** -3.37, three quarters at 10 ** -2.82
        assert log10(bounds.low) == pytest.approx(-3.4, abs=0.6)
        assert log10(bounds.high) == pytest.approx(-2.8, abs=0.4)
        assert bounds.low < bounds.high


def test_a_second_dip_at_higher_rates_is_not_followed() -> None:
    """As a few lucky batches make one, long after training has become unstable."""

    def two_dips(lr: float) -> float:
        return valley(lr) - 0.8 * exp(-20 * (log10(lr) - 0.3) ** 2)

    curve, known = curve_of(two_dips, steps=200), suggest(curve_of(valley, steps=200))
    assert min(curve.smoothed()[150:]) < min(curve.smoothed()[:150]), "the second dip is deeper"
    assert suggest(curve) == known


def test_the_bounds_of_a_straight_fall_cut_off_a_tenth_and_a_quarter_of_it() -> None:
    """From 1 at 1e-5 down to 0 at 1e-1, where it stays until it jumps up at 1."""

    def loss(lr: float) -> float:
        return 1.0 if lr > 1 else min(max(-(log10(lr) + 1) / 4, 0.0), 1.0)

    bounds = suggest(curve_of(loss, steps=801))
    assert log10(bounds.low) == pytest.approx(-4.6, abs=0.15)
    assert log10(bounds.high) == pytest.approx(-2.0, abs=0.15)


def test_how_far_a_network_diverged_does_not_move_the_bounds() -> None:
    calm = curve_of(valley, noise=0.01)
    wild = replace(calm, losses=(*calm.losses[:88], *(1e6 * loss for loss in calm.losses[88:])))
    assert suggest(wild) == suggest(calm)


def test_one_lucky_batch_does_not_move_the_bounds() -> None:
    calm = curve_of(valley, noise=0.01)
    lucky = replace(calm, losses=(*calm.losses[:95], 0.05, *calm.losses[96:]))
    assert suggest(lucky) == suggest(calm)


def test_smoothing_moves_nothing_along_the_axis() -> None:
    curve = curve_of(valley, steps=200)
    middle = [lr for lr, loss in zip(curve.lrs, curve.smoothed(), strict=True) if loss < 0.65]
    assert log10(middle[0]) == pytest.approx(-3, abs=0.05)
    flat = RangeCurve(curve.lrs, (0.5,) * 200)
    assert flat.smoothed() == pytest.approx([0.5] * 200)


@pytest.mark.parametrize(
    "curve",
    [
        curve_of(lambda lr: 0.7),
        curve_of(lambda lr: 0.7, noise=0.05, seed=1),
        curve_of(lambda lr: 0.7, noise=0.05, seed=2, steps=50),
        curve_of(lambda lr: 0.7 + 0.2 * (lr > 0.01)),
        curve_of(lambda lr: 0.1 * (log10(lr) + 8)),
    ],
    ids=["flat", "noise", "less noise", "a step up", "a climb"],
)
def test_a_loss_that_never_falls_is_refused_with_a_remedy(curve: RangeCurve) -> None:
    with pytest.raises(ValueError, match=r"a loss that falls, .* start lower, end higher"):
        suggest(curve)


def test_chance_alone_is_almost_never_taken_for_a_fall() -> None:
    fooled = 0
    for seed in range(200):
        try:
            suggest(curve_of(lambda lr: 0.7, noise=0.05, seed=seed))
            fooled += 1
        except ValueError:
            continue
    assert fooled <= 2


def test_a_curve_of_few_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs 10 steps to see a fall, .* after 4; start lower"):
        suggest(RangeCurve((1e-4, 1e-3, 1e-2, 1e-1), (0.9, 0.5, 0.4, 0.9)))


# The test


def training(
    loss: Callable[[float], float], asked: list[Setting]
) -> Callable[..., Iterator[float]]:
    """A made-up training: each loss depends on the rate of the step before it alone."""

    def step_losses(schedule: ScheduleFunction) -> Iterator[float]:
        last, step = 1e-9, 0
        while True:
            asked.append(schedule(step))
            yield loss(last)
            last, step = asked[-1].lr, step + 1

    return step_losses


def test_each_rate_is_paired_with_the_loss_after_its_step() -> None:
    asked: list[Setting] = []
    steps: list[tuple[Setting, float]] = []
    curve = range_test(
        training(valley, asked),
        momentum=0.7,
        steps=60,
        on_step=lambda setting, loss: steps.append((setting, loss)),
    )
    assert len(curve.lrs) == 60
    assert curve.losses == pytest.approx([valley(lr) for lr in curve.lrs])
    assert (curve.lrs[0], curve.lrs[-1]) == pytest.approx((1e-7, 10.0))
    ratios = [after / before for before, after in zip(curve.lrs, curve.lrs[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * 59)
    assert {setting.momentum for setting in asked} == {0.7}
    assert [setting.lr for setting, _ in steps] == list(curve.lrs)
    assert [loss for _, loss in steps] == list(curve.losses)


def test_it_ends_early_once_the_loss_is_far_above_its_best() -> None:
    asked: list[Setting] = []
    curve = range_test(training(lambda lr: 1.0 if lr < 1e-2 else 500.0, asked), momentum=0.9)
    assert 1e-2 < curve.lrs[-1] < 1e-1
    assert len(asked) == len(curve.lrs) + 1


def breaking(above: float) -> Callable[[ScheduleFunction], Iterator[float]]:
    """Falls below 1e-3, and is no number once a step was larger than ``above``."""

    def step_losses(schedule: ScheduleFunction) -> Iterator[float]:
        largest, step = 0.0, 0
        while largest <= above:
            yield valley(max(largest, 1e-9))
            largest, step = schedule(step).lr, step + 1
        raise NotFinite(nan, step, rows=[3])

    return step_losses


def test_it_ends_where_the_loss_is_no_number_and_still_finds_the_bounds() -> None:
    curve = range_test(breaking(above=0.1), momentum=0.9)
    assert curve.lrs[-1] <= 0.1 < curve.lrs[-1] * 1.3
    assert suggest(curve).high == pytest.approx(suggest(curve_of(valley)).high, rel=0.5)


def test_a_loss_that_is_no_number_from_the_start_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"must start with a finite loss, .* the loss became nan at"
    ):
        range_test(breaking(above=1e-9), momentum=0.9)


@pytest.mark.parametrize(
    ("lowest", "highest", "steps", "says"),
    [
        (0.0, 1.0, 100, "from a rate above 0 to a higher one, got 0 to 1"),
        (1e-2, 1e-3, 100, "got 0.01 to 0.001"),
        (1e-7, float("inf"), 100, "got 1e-07 to inf"),
        (nan, 1.0, 100, "got nan to 1"),
        (1e-7, 1.0, 9, "takes at least 10 steps, got 9"),
    ],
)
def test_rates_that_do_not_grow_and_few_steps_are_refused_before_any_step(
    lowest: float, highest: float, steps: int, says: str
) -> None:
    asked: list[Setting] = []
    with pytest.raises(ValueError, match=says):
        range_test(
            training(valley, asked), momentum=0.9, lowest=lowest, highest=highest, steps=steps
        )
    assert not asked


# On disk


def test_what_was_written_gives_back_the_bounds_exactly(tmp_path: Path) -> None:
    curve = curve_of(valley, noise=0.01)
    bounds = suggest(curve)
    write_curve(tmp_path / "lr_range.csv", curve, bounds)
    assert read_bounds(tmp_path / "lr_range.csv") == bounds
    lines = (tmp_path / "lr_range.csv").read_text().splitlines()
    assert lines[0] == "lr,loss,smoothed,bound"
    assert [line.split(",")[3] for line in lines[1:] if not line.endswith(",")] == ["low", "high"]
    assert tuple(float(line.split(",")[1]) for line in lines[1:]) == curve.losses


@pytest.mark.parametrize("text", ["", "lr,loss,smoothed,bound\n1e-3,0.5,0.5,low\n", "a,b\n1,2\n"])
def test_a_file_without_bounds_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lr_range.csv").write_text(text)
    with pytest.raises(ValueError, match=r"marks its bounds low and high, .* does not; remove it"):
        read_bounds(tmp_path / "lr_range.csv")


# A real network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    phantoms = write_phantoms(folder / "p", patients=6, slices=12, size=48)
    table = find_slices(phantoms)
    table["part"] = split_by_patient(table, validation=0.3, test=0.0)
    run = Run(folder / "run")
    run.path.mkdir()
    table.to_csv(run.slices, index=False)
    data = {"root": str(phantoms), "fingerprint": fingerprint(table, phantoms)}
    write_json(run.sweep, {"data": data})
    return run


TINY = TrialConfig(
    model=Plain(width=4, depth=2, dropout=0.0),
    schedule=Constant(),
    augment=Augmentation(),
    image_size=32,
    batch_size=16,  # with fewer images the loss is too noisy to show its fall on every CPU
    epochs=24,
    precision="float32",
)


def losses_at(run: Run, lr: float) -> list[float]:
    """The mean training loss of each epoch at one rate."""
    config = replace(TINY, optimizer=replace(TINY.optimizer, lr=lr))
    trial = Trial(task_of(run, f"at-{lr}", config), torch.device("cpu"))
    return [trial.run_epoch().train_loss for _ in range(config.epochs)]


def test_a_range_that_breaks_the_network_ends_with_its_last_finite_loss(run: Run) -> None:
    trial = Trial(task_of(run, "test", TINY), torch.device("cpu"))
    steps: list[float] = []
    curve = trial.range_test(
        steps=20, lowest=1e-3, highest=1e36, on_step=lambda setting, loss: steps.append(loss)
    )
    assert steps == list(curve.losses) and 0 < len(steps) < 20
    assert all(map(isfinite, steps))


def test_a_network_learns_within_the_bounds_and_not_far_above_them(run: Run) -> None:
    curve = Trial(task_of(run, "test", TINY), torch.device("cpu")).range_test()
    bounds = suggest(curve)
    assert 1e-6 < bounds.low < bounds.high < 1
    start = fmean(curve.start())
    assert losses_at(run, bounds.high / 2)[-1] < 0.9 * start
    assert min(losses_at(run, 100 * bounds.high)[1:]) > 0.9 * start
    assert losses_at(run, bounds.low / 100)[-1] > 0.9 * start
