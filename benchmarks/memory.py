"""How much memory does a training process take on a CPU, as a function of the pixels in a batch?

Run    python benchmarks/memory.py
Gives  peak resident memory of two steps of the report's models at two image sizes, float32, and
       the line through both: bytes of a process, bytes a pixel. ``cluster/placement.py`` plans
       with the highest of each.
"""

import subprocess
import sys

import torch

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.models.network import build_network
from brainseg.planning.probe import peak_resident_bytes
from brainseg.training.losses import pixel_sums, soft_dice
from brainseg.training.optim import build_optimizer

MODELS: dict[str, Params] = {
    "plain U-Net, width 64": {"model": "plain"},
    "vgg16": {"model.encoder.name": "vgg16", "model.encoder.weights": "none"},
    "resnet50": {"model.encoder.name": "resnet50", "model.encoder.weights": "none"},
}
BATCH = 8
SIZES = (64, 160)


def peak_bytes(name: str, size: int) -> int:
    """Peak resident memory of two steps, in a process of its own."""
    code = f"from benchmarks.memory import step; step({name!r}, {size})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def step(name: str, size: int) -> None:
    config = build(TrialConfig(), MODELS[name])
    network = build_network(config.model)
    optimizer = build_optimizer(network, config.optimizer)
    image_BCHW = torch.zeros(BATCH, size, size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    mask_BHW = torch.zeros(BATCH, size, size, dtype=torch.uint8)
    scaling_BC3 = torch.tensor([255.0, 0.0, 1.0]).expand(BATCH, 3, 3)
    for _ in range(2):
        soft_dice(pixel_sums(network(image_BCHW, scaling_BC3), mask_BHW), smooth=1.0).backward()
        optimizer.step()
        optimizer.zero_grad()
    print(peak_resident_bytes())


def main() -> None:
    print(f"{'model':24s} {'GB at ' + str(SIZES[0]):>10s} {'GB at ' + str(SIZES[1]):>10s}  line")
    for name in MODELS:
        small, large = (peak_bytes(name, size) for size in SIZES)
        pixels = [BATCH * size * size for size in SIZES]
        slope = (large - small) / (pixels[1] - pixels[0])
        offset = small - slope * pixels[0]
        print(
            f"{name:24s} {small / 1e9:10.2f} {large / 1e9:10.2f}  "
            f"{offset / 1e9:.2f} GB + {slope:.0f} bytes a pixel"
        )


if __name__ == "__main__":
    main()
