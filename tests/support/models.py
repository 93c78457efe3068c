"""Models that nobody trained, for tests of what is done with a model's answers."""

from pathlib import Path
from typing import Any

import torch

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.schema import flatten
from brainseg.inference.description import Description, Member
from brainseg.inference.model import Model
from brainseg.models.network import build_network


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
