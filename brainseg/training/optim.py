"""Config to optimizer: which parameters share a learning rate and weight decay; setting both."""

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim import Adam as TorchAdam
from torch.optim import AdamW as TorchAdamW

from brainseg.config import hyperparameters
from brainseg.config.hyperparameters import AdamW, Sgd
from brainseg.training.compute.plan import Implementation
from brainseg.training.schedules import Setting

BETA2 = 0.999
ALIKE: Mapping[str, float] = MappingProxyType({})  # every parameter has the whole rate


def build_optimizer(
    network: nn.Module,
    config: hyperparameters.Optimizer,
    scales: Mapping[str, float] = ALIKE,
    implementation: Implementation = "loop",
) -> Optimizer:
    """An optimizer over the parameters that are trained; biases and norms are not decayed.

    Groups are in the order in which the network first names one of their parameters, so that the
    same network, built again, can load the optimizer's state.

    Args:
        scales: the share of the learning rate for each parameter, by its name in
            ``network.named_parameters()``; 1 for names that are left out.
    """
    assert scales.keys() <= dict(network.named_parameters()).keys(), "scales name parameters"
    members: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            members[scales.get(name, 1.0), decay].append(parameter)
    groups = [
        {"params": parameters, "weight_decay": decay, "scale": scale, "lr": config.lr * scale}
        for (scale, decay), parameters in members.items()
    ]
    foreach, fused = implementation == "foreach", implementation == "fused"
    if isinstance(config, Sgd):
        return SGD(groups, momentum=config.momentum, foreach=foreach, fused=fused)
    kind = TorchAdamW if isinstance(config, AdamW) else TorchAdam
    return kind(groups, betas=(config.beta1, BETA2), foreach=foreach, fused=fused)


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state that another implementation, or one in another memory layout, may have saved.

    PyTorch would take the implementation from the state, and leave moments in their layout: fused
    kernels then read parameters and moments in different orders, without an error on a CPU.
    """
    own = {name: optimizer.param_groups[0][name] for name in ("foreach", "fused")}
    groups = [{**group, **own} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if name != "step" and torch.is_tensor(value) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def momentum_of(config: hyperparameters.Optimizer) -> float:
    """What a schedule may lower while the learning rate is high: SGD's momentum, or beta1."""
    return config.momentum if isinstance(config, Sgd) else config.beta1


def set_rates(optimizer: Optimizer, setting: Setting) -> None:
    """Give every group its share of the learning rate, and the momentum."""
    for group in optimizer.param_groups:
        group["lr"] = setting.lr * group["scale"]
        if "betas" in group:
            group["betas"] = (setting.momentum, group["betas"][1])
        else:
            group["momentum"] = setting.momentum
