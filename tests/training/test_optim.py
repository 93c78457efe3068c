"""Only what is trained is in the optimizer, each parameter with its own share of the rate."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from brainseg.config import hyperparameters
from brainseg.config.hyperparameters import Adam, AdamW, OneCycle, Sgd
from brainseg.training.compute.plan import Implementation
from brainseg.training.optim import build_optimizer, load_optimizer, momentum_of, set_rates
from brainseg.training.schedules import Setting, build_schedule

torch.set_num_threads(1)
SCALES = {"1.weight": 0.25, "1.bias": 0.25, "2.weight": 0.5}
ALL = [AdamW(weight_decay=0.3), Adam(weight_decay=0.3), Sgd(weight_decay=0.3)]


def small_network() -> nn.Sequential:
    """A frozen convolution, then a trained one with its norm and a bias."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    network[0].requires_grad_(False)
    return network


def by_name(network: nn.Module, optimizer: Optimizer, setting: str) -> dict[str, float | None]:
    """A setting of the group that each parameter is in; None for those in no group."""
    setting_by_id = {
        id(p): group[setting] for group in optimizer.param_groups for p in group["params"]
    }
    return {name: setting_by_id.get(id(p)) for name, p in network.named_parameters()}


# Groups


@pytest.mark.parametrize("config", ALL, ids=str)
def test_weights_are_decayed_biases_and_norms_are_not_and_the_frozen_are_in_no_group(
    config: hyperparameters.Optimizer,
) -> None:
    network = small_network()
    assert by_name(network, build_optimizer(network, config), "weight_decay") == {
        "0.weight": None,
        "0.bias": None,
        "1.weight": 0.3,
        "1.bias": 0.0,
        "2.weight": 0.0,
        "2.bias": 0.0,
    }


@pytest.mark.parametrize("config", ALL, ids=str)
def test_each_parameter_takes_its_share_of_the_rate_and_all_of_it_if_none_is_named(
    config: hyperparameters.Optimizer,
) -> None:
    network = small_network()
    optimizer = build_optimizer(network, config, SCALES)
    set_rates(optimizer, Setting(lr=0.8, momentum=0.5))
    shares = {"1.weight": 0.25, "1.bias": 0.25, "2.weight": 0.5, "2.bias": 1.0}
    frozen = {"0.weight": None, "0.bias": None}
    assert by_name(network, optimizer, "lr") == frozen | {k: 0.8 * v for k, v in shares.items()}
    assert len(optimizer.param_groups) == 4
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


def test_groups_stand_in_the_order_in_which_the_network_names_them() -> None:
    network = small_network()
    reversed_scales = dict(reversed(SCALES.items()))
    orders = [
        [[id(p) for p in group["params"]] for group in build_optimizer(network, AdamW(), s)
         .param_groups]
        for s in (SCALES, reversed_scales)
    ]  # fmt: skip
    assert orders[0] == orders[1]
    named = [id(p) for p in network.parameters() if p.requires_grad]
    assert [first for first, *_ in orders[0]] == [
        name for name in named if name in {first for first, *_ in orders[0]}
    ]


def test_a_learning_rate_scale_for_an_unknown_parameter_is_an_assertion_error() -> None:
    with pytest.raises(AssertionError):
        build_optimizer(small_network(), AdamW(), {"encoder.1.weight": 0.5})


def test_a_network_of_biases_alone_can_be_trained() -> None:
    network = small_network()
    network[1].weight.requires_grad_(False)
    build_optimizer(network, AdamW()).step()


# Kinds


@pytest.mark.parametrize(
    ("config", "kind", "numbers"),
    [
        (AdamW(beta1=0.85), torch.optim.AdamW, {"betas": (0.85, 0.999)}),
        (Adam(beta1=0.85), torch.optim.Adam, {"betas": (0.85, 0.999)}),
        (Sgd(momentum=0.85), torch.optim.SGD, {"momentum": 0.85}),
    ],
)
def test_the_config_s_numbers_reach_the_optimizer(
    config: hyperparameters.Optimizer, kind: type[Optimizer], numbers: Mapping[str, object]
) -> None:
    optimizer = build_optimizer(small_network(), config)
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert group["lr"] == config.lr
        assert {name: group[name] for name in numbers} == numbers
    assert momentum_of(config) == 0.85


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


@pytest.mark.parametrize("config", ALL, ids=str)
def test_momentum_is_set_in_every_group_and_the_second_beta_stays(
    config: hyperparameters.Optimizer,
) -> None:
    optimizer = build_optimizer(small_network(), config, SCALES)
    set_rates(optimizer, Setting(lr=0.1, momentum=0.6))
    for group in optimizer.param_groups:
        if isinstance(config, Sgd):
            assert group["momentum"] == 0.6
        else:
            assert group["betas"] == (0.6, 0.999)


# Going on in the middle


def take_steps(
    network: nn.Module, optimizer: Optimizer, config: hyperparameters.Optimizer, *steps: int
) -> None:
    schedule = build_schedule(
        OneCycle(momentum_drop=0.15),
        peak=config.lr,
        momentum=momentum_of(config),
        steps_per_epoch=3,
        epochs=2,
    )
    for step in steps:
        image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        set_rates(optimizer, schedule(step))
        optimizer.zero_grad()
        (network(image) ** 3).mean().backward()
        optimizer.step()


def values(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("config", ALL, ids=str)
def test_cut_off_in_the_middle_of_a_cycle_it_ends_bit_for_bit_as_uninterrupted(
    config: hyperparameters.Optimizer,
) -> None:
    whole = small_network()
    take_steps(whole, build_optimizer(whole, config, SCALES), config, 0, 1, 2, 3, 4, 5)

    first = small_network()
    optimizer = build_optimizer(first, config, SCALES)
    take_steps(first, optimizer, config, 0, 1, 2)
    saved = deepcopy((first.state_dict(), optimizer.state_dict()))

    second = small_network()
    second.load_state_dict(saved[0])
    anew = build_optimizer(second, config, SCALES)
    anew.load_state_dict(saved[1])
    take_steps(second, anew, config, 3, 4, 5)
    expected = values(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in values(second).items())
    assert not torch.equal(values(first)["1.weight"], expected["1.weight"])


# Implementations


def saved_halfway(
    config: hyperparameters.Optimizer,
    implementation: Implementation,
    memory_format: torch.memory_format,
) -> tuple[dict[str, Any], dict[str, Any]]:
    network = small_network().to(memory_format=memory_format)
    optimizer = build_optimizer(network, config, SCALES, implementation)
    take_steps(network, optimizer, config, 0, 1, 2)
    return deepcopy((network.state_dict(), optimizer.state_dict()))


@pytest.mark.parametrize("config", ALL, ids=str)
@pytest.mark.parametrize(
    ("before", "after"),
    [("fused", "loop"), ("loop", "fused"), ("foreach", "fused"), ("fused", "foreach")],
)
@pytest.mark.parametrize("moved", [False, True], ids=["", "in another layout"])
def test_what_one_implementation_saved_another_loads_and_ends_with_the_same_weights(
    config: hyperparameters.Optimizer, before: Implementation, after: Implementation, moved: bool
) -> None:
    whole = small_network()
    take_steps(whole, build_optimizer(whole, config, SCALES), config, 0, 1, 2, 3, 4, 5)

    saved = saved_halfway(config, before, torch.channels_last)
    layout = torch.contiguous_format if moved else torch.channels_last
    network = small_network().to(memory_format=layout)
    network.load_state_dict(saved[0])
    optimizer = build_optimizer(network, config, SCALES, after)
    load_optimizer(optimizer, saved[1])
    assert [(group["fused"], group["foreach"]) for group in optimizer.param_groups] == [
        (after == "fused", after == "foreach")
    ] * len(optimizer.param_groups)
    take_steps(network, optimizer, config, 3, 4, 5)
    expected = values(whole)
    for name in ("1.bias", "2.running_mean"):  # before a norm, its gradient is rounding alone
        del expected[name]
    for name, tensor in expected.items():
        torch.testing.assert_close(values(network)[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_a_checkpoint_of_a_version_that_named_no_implementation_loads(
    config: hyperparameters.Optimizer,
) -> None:
    weights, state = saved_halfway(config, "loop", torch.channels_last)
    for group in state["param_groups"]:
        group |= {"fused": None, "foreach": None}
    network = small_network()
    network.load_state_dict(weights)
    optimizer = build_optimizer(network, config, SCALES, "fused")
    load_optimizer(optimizer, state)
    take_steps(network, optimizer, config, 3)
    assert all(group["fused"] and not group["foreach"] for group in optimizer.param_groups)
