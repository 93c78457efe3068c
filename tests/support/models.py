"""Models that nobody trained, for tests of what is done with a model's answers."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.schema import flatten
from brainseg.inference.description import Description, Member, Threshold
from brainseg.inference.model import Model
from brainseg.models.network import Network, build_network


def tiny_model(
    image_size: int = 32, channels: int = 3, channels_named: tuple[str, ...] = (), **described: Any
) -> Model:
    """A plain U-Net of width 4 from random weights, the same ones each time."""
    config = TrialConfig(
        model=Plain(width=4, depth=2, dropout=0.0, norm="none"),
        image_size=image_size,
        channels=channels,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(config.model, channels, image_size)
    description = Description(
        name="plain U-Net",
        kind="trial",
        config=flatten(config),
        channels=channels_named,
        members=(Member(trial="0000", seed=0, fold=0, epoch=1),),
        **described,
    )
    return Model(description, [network], Path("tiny"))


def untrained(config: TrialConfig, *, members: int = 1) -> Model:
    """An ensemble of networks whose batch norm knows the scale of its inputs."""
    return model_of(config, [_settled(config, seed) for seed in range(members)])


def model_of(config: TrialConfig, networks: list[Network]) -> Model:
    described = Description(
        name="of a test",
        kind="trial" if len(networks) == 1 else "ensemble",
        config=flatten(config),
        members=tuple(Member(trial="0", seed=n, fold=0, epoch=1) for n in range(len(networks))),
        channels=("a", "b", "c")[: config.channels],
        threshold=Threshold(value=0.4),
    )
    return Model(described, networks, Path("nowhere"))


@torch.no_grad()
def _settled(config: TrialConfig, seed: int) -> Network:
    torch.manual_seed(seed)
    network = build_network(config.model, config.channels, config.image_size).train()
    shape = (4, config.channels, config.image_size, config.image_size)
    scaling_BC3 = torch.tensor([255.0, 127.0, 74.0]).expand(4, config.channels, 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    for _ in range(3):
        network(torch.randint(0, 256, shape, dtype=torch.uint8), scaling_BC3)
    return network.eval()
