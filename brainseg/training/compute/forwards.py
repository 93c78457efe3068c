"""How long a network takes to predict here, in each of the ways to compute it.

Measured as training steps are (see ``measure``).

Shapes: B images, C channels, H rows, W columns.
"""

import torch

from brainseg.config.hyperparameters import TrialConfig
from brainseg.models.network import Network
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.measure import (
    MANY,
    Measured,
    Timed,
    batch_of,
    memory_given_back,
    network_of,
    take_turns,
)
from brainseg.training.compute.rules import STEPS

FEW = 4  # images on a CPU, on which more compare alike


def measure_forwards(config: TrialConfig, device: torch.device) -> Measured:
    """Seconds of a batch in evaluation mode, by candidate of ``rules.STEPS``."""
    measured = Measured()
    with memory_given_back(measured, device):
        network = network_of(config, device).eval()
        forwards: dict[str, Timed] = {
            name: _Forward(network, config, Machine(device, compute))
            for name, compute in STEPS.items()
        }
        take_turns(forwards, measured, device)
    return measured


class _Forward:
    """A batch through the network in one way."""

    def __init__(self, network: Network, config: TrialConfig, machine: Machine) -> None:
        self.network, self.machine = network, machine
        images = MANY if machine.device.type == "cuda" else FEW
        self.image_BCHW = batch_of(config, machine.device, images).image_BCHW.to(machine.device)
        scaling_3 = torch.tensor([255.0, 128.0, 64.0], device=machine.device)
        self.scaling_BC3 = scaling_3.expand(images, config.channels, 3)

    def lay_out(self) -> None:
        self.network.lay_out(self.machine.memory_format)

    def __call__(self) -> None:
        with torch.inference_mode(), self.machine.cast():
            self.network(self.image_BCHW, self.scaling_BC3)
