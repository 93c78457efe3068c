"""The rate of every step is known beforehand; only what is trained is decayed, and only weights."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from brainseg.config import AdamW, Constant, Cosine, Sgd, Triangular
from brainseg.optim import build_optimizer, build_schedule, cosine, set_rate, triangular

torch.set_num_threads(1)
PEAK, STEPS = 0.3, 240


def rates(config: Cosine | Triangular | Constant, steps: int = STEPS) -> list[float]:
    schedule = build_schedule(config, peak=PEAK, total_steps=steps)
    return [schedule(step) for step in range(steps)]


def small_network() -> nn.Sequential:
    """A frozen convolution, then a trained one with its norm and a bias."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    network[0].requires_grad_(False)
    return network


# Schedules


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_cosine_climbs_to_the_peak_and_falls_to_the_floor(warmup: float) -> None:
    found = rates(Cosine(warmup=warmup, floor=0.02))
    top = round(warmup * STEPS)
    assert found[top] == max(found) == pytest.approx(PEAK)
    assert found[:top] == sorted(found[:top])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] == pytest.approx(0.02 * PEAK, rel=0.02)
    assert min(found) >= 0.02 * PEAK
    if warmup:
        assert found[0] == pytest.approx(0.02 * PEAK)


def test_cosine_is_halfway_between_peak_and_floor_halfway_down() -> None:
    assert cosine(0.6, warmup=0.2, floor=0.1) == pytest.approx(0.55)
    assert cosine(1.0, warmup=0.2, floor=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize("cycles", [1, 2, 3, 5, 8])
def test_triangular_has_as_many_peaks_as_cycles_all_of_one_height(cycles: int) -> None:
    found = rates(Triangular(cycles=cycles, floor=0.1))
    tops = [b for a, b, c in zip(found, found[1:], found[2:], strict=False) if a < b > c]
    assert tops == pytest.approx([PEAK] * cycles)
    assert min(found) == found[0] == pytest.approx(0.1 * PEAK)


def test_triangular_is_a_straight_line_up_and_down() -> None:
    shares = [triangular(progress, floor=0.2) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert shares == pytest.approx([0.2, 0.6, 1.0, 0.6, 0.2])


def test_constant_is_the_peak_throughout() -> None:
    assert set(rates(Constant())) == {PEAK}


@pytest.mark.parametrize("config", [Cosine(), Triangular(), Constant()])
def test_no_schedule_jumps(config: Cosine | Triangular | Constant) -> None:
    found = rates(config, steps=10_000)
    assert max(abs(b - a) for a, b in pairwise(found)) < 0.002 * PEAK


@pytest.mark.parametrize("config", [Cosine(), Cosine(warmup=0), Triangular(cycles=8), Constant()])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_rate_of_a_short_run_is_between_floor_and_peak(
    config: Cosine | Triangular | Constant, steps: int
) -> None:
    assert all(0 < rate <= PEAK for rate in rates(config, steps))


def test_a_rate_is_set_in_every_group() -> None:
    optimizer = build_optimizer(small_network(), AdamW())
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


# Optimizers


@pytest.mark.parametrize("config", [AdamW(weight_decay=0.3), Sgd(weight_decay=0.3)])
def test_weights_are_decayed_biases_and_norms_are_not_and_the_frozen_are_in_no_group(
    config: AdamW | Sgd,
) -> None:
    network = small_network()
    decay = {
        id(parameter): group["weight_decay"]
        for group in build_optimizer(network, config).param_groups
        for parameter in group["params"]
    }
    assert {name: decay.get(id(p)) for name, p in network.named_parameters()} == {
        "0.weight": None,
        "0.bias": None,
        "1.weight": 0.3,
        "1.bias": 0.0,
        "2.weight": 0.0,
        "2.bias": 0.0,
    }


@pytest.mark.parametrize("config", [AdamW(lr=0.1, weight_decay=0.5), Sgd(lr=0.1, weight_decay=0.5)])
def test_a_step_without_gradient_shrinks_weights_and_leaves_the_rest(config: AdamW | Sgd) -> None:
    network = small_network()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(network, config).step()
    for name, parameter in network.named_parameters():
        shrunk = 0.95 if name == "1.weight" else 1.0
        assert torch.allclose(parameter, shrunk * before[name]), name


def test_the_config_s_numbers_reach_the_optimizer() -> None:
    sgd = build_optimizer(small_network(), Sgd(lr=0.5, momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert {(group["lr"], group["momentum"]) for group in sgd.param_groups} == {(0.5, 0.8)}
    adamw = build_optimizer(small_network(), AdamW(lr=0.5))
    assert isinstance(adamw, torch.optim.AdamW)
    assert {group["lr"] for group in adamw.param_groups} == {0.5}


def test_a_network_of_biases_alone_can_be_trained() -> None:
    network = small_network()
    network[1].weight.requires_grad_(False)
    build_optimizer(network, AdamW()).step()
