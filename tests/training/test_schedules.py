"""The rate and the momentum of every step are known beforehand, and are those of the sources."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from brainseg.config import hyperparameters
from brainseg.config.hyperparameters import (
    Constant,
    Cosine,
    ExpRange,
    OneCycle,
    Step,
    Triangular,
    Triangular2,
)
from brainseg.training.schedules import Setting, build_schedule, cosine, triangle, within

torch.set_num_threads(1)
PEAK, MOMENTUM = 0.3, 0.9
PER_EPOCH, EPOCHS = 12, 20
STEPS = PER_EPOCH * EPOCHS
EVERY = [Constant(), Step(), Cosine(), OneCycle(), Triangular(), Triangular2(), ExpRange()]
CYCLICAL = [Triangular(), Triangular2(), ExpRange()]


def settings(
    config: hyperparameters.ScheduleConfig,
    *,
    per_epoch: int = PER_EPOCH,
    epochs: int = EPOCHS,
    momentum: float = MOMENTUM,
) -> list[Setting]:
    schedule = build_schedule(
        config, peak=PEAK, momentum=momentum, steps_per_epoch=per_epoch, epochs=epochs
    )
    return [schedule(step) for step in range(per_epoch * epochs)]


def rates(config: hyperparameters.ScheduleConfig, *, per_epoch: int = PER_EPOCH) -> list[float]:
    return [setting.lr for setting in settings(config, per_epoch=per_epoch)]


def momenta(config: hyperparameters.ScheduleConfig) -> list[float]:
    return [setting.momentum for setting in settings(config)]


def of_torch(optimizer: torch.optim.Optimizer, scheduler: LRScheduler) -> list[Setting]:
    """What a scheduler of PyTorch sets, step by step."""
    expected = []
    for _ in range(STEPS):
        group = optimizer.param_groups[0]
        momentum = group["betas"][0] if "betas" in group else group["momentum"]
        expected.append(Setting(group["lr"], momentum))
        optimizer.step()
        if len(expected) < STEPS:
            scheduler.step()
    return expected


def require_equal(ours: list[Setting], expected: list[Setting]) -> None:
    assert [setting.lr for setting in ours] == pytest.approx(
        [setting.lr for setting in expected], rel=1e-9
    )
    assert [setting.momentum for setting in ours] == pytest.approx(
        [setting.momentum for setting in expected]
    )


# Every schedule


@pytest.mark.parametrize("config", EVERY, ids=lambda config: type(config).__name__)
def test_a_step_gets_the_same_setting_whatever_was_asked_before(
    config: hyperparameters.ScheduleConfig,
) -> None:
    expected = settings(config)
    asked = build_schedule(
        config, peak=PEAK, momentum=MOMENTUM, steps_per_epoch=PER_EPOCH, epochs=EPOCHS
    )
    order = Random(0).sample(range(STEPS), STEPS)
    assert {step: asked(step) for step in order} == dict(enumerate(expected))


@pytest.mark.parametrize("config", EVERY, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize(("per_epoch", "epochs"), [(1, 1), (1, 2), (7, 1), (3, 5)])
def test_every_rate_of_a_short_run_is_between_nothing_and_the_peak(
    config: hyperparameters.ScheduleConfig, per_epoch: int, epochs: int
) -> None:
    for setting in settings(config, per_epoch=per_epoch, epochs=epochs):
        assert 0 < setting.lr <= PEAK
        assert 0 <= setting.momentum <= MOMENTUM


@pytest.mark.parametrize(
    "config", [config for config in EVERY if not isinstance(config, Step)], ids=str
)
def test_no_schedule_but_step_jumps(config: hyperparameters.ScheduleConfig) -> None:
    rate_by_step = rates(config, per_epoch=1000)
    assert max(abs(after - before) for before, after in pairwise(rate_by_step)) < 0.001 * PEAK


@pytest.mark.parametrize("config", EVERY[2:], ids=lambda config: type(config).__name__)
def test_momentum_falls_as_the_rate_climbs_and_never_below_0(
    config: hyperparameters.ScheduleConfig,
) -> None:
    swinging = settings(replace(config, momentum_drop=0.15))
    for before, after in pairwise(swinging):
        assert (after.lr - before.lr) * (after.momentum - before.momentum) <= 0
    assert max(setting.momentum for setting in swinging) == pytest.approx(MOMENTUM, abs=0.01)
    assert min(setting.momentum for setting in swinging) == pytest.approx(MOMENTUM - 0.15, abs=0.03)
    steep = settings(replace(config, momentum_drop=0.95), momentum=0.5)
    assert min(setting.momentum for setting in steep) == 0.0


@pytest.mark.parametrize("config", [Constant(), Step(), Cosine(), Triangular()], ids=str)
def test_momentum_stays_where_nothing_drops_it(config: hyperparameters.ScheduleConfig) -> None:
    assert set(momenta(config)) == {MOMENTUM}


# Each schedule


def test_constant_is_the_peak_throughout() -> None:
    assert set(rates(Constant())) == {PEAK}


def test_step_shrinks_the_rate_at_the_first_step_of_every_few_epochs() -> None:
    rate_by_step = rates(Step(every_epochs=8, factor=0.5))
    part = 8 * PER_EPOCH
    assert rate_by_step[:part] == [PEAK] * part
    assert rate_by_step[part : 2 * part] == [PEAK / 2] * part
    assert rate_by_step[2 * part :] == [PEAK / 4] * (STEPS - 2 * part)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_cosine_climbs_to_the_peak_and_falls_to_the_floor(warmup: float) -> None:
    rate_by_step = rates(Cosine(warmup=warmup, floor=0.02))
    top = round(warmup * STEPS)
    assert rate_by_step[top] == max(rate_by_step) == pytest.approx(PEAK)
    assert rate_by_step[:top] == sorted(rate_by_step[:top])
    assert rate_by_step[top:] == sorted(rate_by_step[top:], reverse=True)
    assert rate_by_step[-1] == pytest.approx(0.02 * PEAK, rel=0.02)
    assert min(rate_by_step) >= 0.02 * PEAK
    if warmup:
        assert rate_by_step[0] == pytest.approx(0.02 * PEAK)


def test_cosine_is_halfway_up_halfway_down() -> None:
    assert cosine(0.1, warmup=0.2) == pytest.approx(0.5)
    assert cosine(0.6, warmup=0.2) == pytest.approx(0.5)
    assert cosine(1.0, warmup=0.2) == pytest.approx(0.0)


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.42, 0.5])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_one_cycle_is_that_of_pytorch(
    warmup: float, kind: type[torch.optim.SGD] | type[torch.optim.AdamW]
) -> None:
    optimizer = kind([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    start, end = 0.04, 4e-6
    scheduler = OneCycleLR(
        optimizer,
        max_lr=PEAK,
        total_steps=STEPS,
        pct_start=warmup,
        div_factor=1 / start,
        final_div_factor=start / end,
        base_momentum=MOMENTUM - 0.1,
        max_momentum=MOMENTUM,
    )
    ours = settings(OneCycle(warmup=warmup, start=start, end=end, momentum_drop=0.1))
    require_equal(ours, of_torch(optimizer, scheduler))


def test_one_cycle_without_warm_up_begins_at_its_peak() -> None:
    rate_by_step = rates(OneCycle(warmup=0.0, end=0.01))
    assert rate_by_step[0] == max(rate_by_step) == pytest.approx(PEAK)
    assert rate_by_step[-1] == pytest.approx(0.01 * PEAK)


@pytest.mark.parametrize(
    ("config", "mode", "gamma"),
    [
        (Triangular(cycle_epochs=4, floor=0.1), "triangular", 1.0),
        (Triangular2(cycle_epochs=4, floor=0.1), "triangular2", 1.0),
        (ExpRange(cycle_epochs=4, floor=0.1, gamma=0.9), "exp_range", 0.9 ** (1 / PER_EPOCH)),
        (Triangular(cycle_epochs=7, floor=0.3), "triangular", 1.0),  # cut off in a cycle
    ],
)
@pytest.mark.parametrize("per_epoch", [PER_EPOCH, PER_EPOCH + 1], ids=["even", "odd"])
def test_cycles_are_those_of_pytorch(
    config: Triangular | Triangular2 | ExpRange, mode: str, gamma: float, per_epoch: int
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5)
    scheduler = CyclicLR(
        optimizer,
        base_lr=config.floor * PEAK,
        max_lr=PEAK,
        step_size_up=config.cycle_epochs * per_epoch / 2,
        mode=mode,
        gamma=gamma ** (PER_EPOCH / per_epoch),
        base_momentum=MOMENTUM - 0.15,
        max_momentum=MOMENTUM,
    )
    ours = settings(replace(config, momentum_drop=0.15), per_epoch=per_epoch)
    require_equal(ours[:STEPS], of_torch(optimizer, scheduler))


@pytest.mark.parametrize("cycle_epochs", [2, 4, 5])
def test_a_cycle_lasts_its_epochs_and_peaks_in_the_middle(cycle_epochs: int) -> None:
    rate_by_step = rates(Triangular(cycle_epochs=cycle_epochs, floor=0.1))
    tops = [step for step, rate in enumerate(rate_by_step) if rate == max(rate_by_step)]
    cycle = cycle_epochs * PER_EPOCH
    assert tops == list(range(cycle // 2, STEPS, cycle))
    assert rate_by_step[::cycle] == pytest.approx([0.1 * PEAK] * (STEPS // cycle))


def test_triangular2_halves_the_height_above_the_floor_at_every_cycle() -> None:
    rate_by_step = rates(Triangular2(cycle_epochs=4, floor=0.2))
    tops = [share / PEAK for share in rate_by_step[2 * PER_EPOCH :: 4 * PER_EPOCH]]
    assert tops == pytest.approx([0.2 + 0.8 * left for left in (1, 0.5, 0.25, 0.125, 0.0625)])


def test_exp_range_shrinks_by_gamma_an_epoch_however_many_steps_it_has() -> None:
    for per_epoch in (2, 12, 50):
        rate_by_step = rates(ExpRange(cycle_epochs=2, floor=0.2, gamma=0.9), per_epoch=per_epoch)
        tops = [share / PEAK for share in rate_by_step[per_epoch :: 2 * per_epoch]]
        assert tops[:3] == pytest.approx([0.2 + 0.8 * 0.9**epoch for epoch in (1, 3, 5)])


def test_a_triangle_is_a_straight_line_up_and_down() -> None:
    shares = [triangle(cycles) for cycles in (0, 0.25, 0.5, 0.75, 1, 3.25)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0, 0.5])


# The floor that a range test finds


@pytest.mark.parametrize("config", CYCLICAL, ids=str)
def test_within_sets_the_floor_of_a_cycle_and_nothing_else(
    config: Triangular | Triangular2 | ExpRange,
) -> None:
    assert within(config, floor=0.37) == replace(config, floor=0.37)
    assert min(rates(within(config, floor=0.37))) == pytest.approx(0.37 * PEAK)


@pytest.mark.parametrize("config", EVERY[:4], ids=str)
def test_within_leaves_a_schedule_without_cycles_as_it_is(
    config: hyperparameters.ScheduleConfig,
) -> None:
    assert within(config, floor=0.37) is config
