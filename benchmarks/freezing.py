"""What does freezing save? Time of a training step and peak memory, frozen against unfrozen.

Run    python -m benchmarks.freezing [--encoder resnet50] [--image-size 256] [--batch 16]
Gives  for the first two blocks frozen and for the whole encoder frozen: how many times faster a
       step is than with nothing frozen (median of the rounds, lowest to highest), and the peak
       memory of each. Five minutes on two cores.

The three networks take turns within each round, and a ratio is of one round, so that whatever
else keeps the machine busy slows all three. A step is what ``loop.train_steps`` does: forward, soft
Dice, backward, clipping, AdamW. Peak memory is of a process of its own that takes two steps: the
largest resident set on a CPU, what PyTorch allocated on a GPU.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from benchmarks.claims import Claim, ratios, taking_turns
from brainseg.config.hyperparameters import AdamW, Encoder, First, Freeze, Nothing, Whole
from brainseg.models.freezing import frozen_blocks
from brainseg.models.network import Network, build_network
from brainseg.planning.probe import peak_resident_bytes
from brainseg.training.losses import pixel_sums, soft_dice
from brainseg.training.optim import build_optimizer

FREEZES: dict[str, Freeze] = {
    "nothing frozen": Nothing(),
    "first 2 blocks frozen": First(blocks=2),
    "encoder frozen": Whole(),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def frozen_network(encoder: str, kind: str, image_size: int) -> Network:
    torch.manual_seed(0)
    network = build_network(Encoder(name=encoder, weights="none"), 3, image_size).to(DEVICE)
    network.freeze(frozen_blocks(FREEZES[kind], len(network.blocks), epoch=0, epochs=1))
    return network


def stepper(network: Network, image_size: int, batch: int) -> Callable[[], None]:
    """A function that takes one training step on random slices."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, image_size, image_size)
    image_BHWC = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)
    mask_BHW = torch.randint(0, 2, shape, dtype=torch.uint8, generator=generator).to(DEVICE)
    image_BCHW = image_BHWC.permute(0, 3, 1, 2).to(DEVICE)
    scaling_BC3 = torch.tensor([255.0, 128.0, 64.0], device=DEVICE).expand(batch, 3, 3)
    optimizer = build_optimizer(network, AdamW())

    def step() -> None:
        network.train()
        loss = soft_dice(pixel_sums(network(image_BCHW, scaling_BC3), mask_BHW), smooth=1.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        loss.item()  # waits for a GPU

    return step


def seconds(step: Callable[[], None], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times


def peak_bytes(encoder: str, kind: str, image_size: int, batch: int) -> int:
    """Peak memory of two steps, in a process of its own."""
    code = (
        f"from benchmarks.freezing import print_peak; print_peak{encoder, kind, image_size, batch}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def print_peak(encoder: str, kind: str, image_size: int, batch: int) -> None:
    step = stepper(frozen_network(encoder, kind, image_size), image_size, batch)
    step(), step()
    if DEVICE.type == "cuda":
        print(torch.cuda.max_memory_allocated())
    else:
        print(peak_resident_bytes())


def claims(quick: bool) -> list[Claim]:
    """How many times as fast a step is with blocks frozen; a quick look takes a small network."""
    encoder, size, batch = ("mobilenet_v2", 64, 8) if quick else ("resnet50", 256, 16)
    steps: dict[str, Callable[[], object]] = {
        kind: stepper(frozen_network(encoder, kind, size), size, batch) for kind in FREEZES
    }
    taking_turns(steps, 1)  # to warm up
    times = taking_turns(steps, 3)
    whole, *parts = times
    return [
        Claim(
            what=f"a training step of {encoder}, {size} px, batch {batch}, {kind}",
            values=ratios(times[whole], times[kind]),
            baseline="nothing frozen",
            limit=1.0,
        )
        for kind in parts
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="of each network in a round")
    args = parser.parse_args()
    size = args.image_size
    steps = {
        kind: stepper(frozen_network(args.encoder, kind, size), size, args.batch)
        for kind in FREEZES
    }
    for step in steps.values():
        step()
    rounds = [
        {kind: seconds(step, args.steps) for kind, step in steps.items()}
        for _ in range(args.rounds)
    ]
    print(f"{args.encoder}, {size} px, batch {args.batch}, {DEVICE.type}")
    for kind in FREEZES:
        took = median(times[kind] for times in rounds)
        ratios = sorted(times["nothing frozen"] / times[kind] for times in rounds)
        peak = peak_bytes(args.encoder, kind, size, args.batch)
        print(
            f"{kind:22s} {took:7.3f} s a step   {median(ratios):.2f}x faster "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})   peak {peak / 1e9:.2f} GB"
        )


if __name__ == "__main__":
    main()
