"""Is a training step ever slower than the plain loop that a user would write, or than it could be?

Run    python -m benchmarks.step [--networks resnet50,plain] [--image-size 128] [--batch 8]
       python -m benchmarks.step --profile resnet50      # where the time of a step goes
Gives  for each network how many times as fast as the plain loop a step of a trial is, on the clock
       and in CPU time, and how it compares with the best of all ways to compute it. Five minutes on
       two idle cores.

Ours is ``loop.train_steps`` as precision=auto, measured anew, lets it compute: uint8 images,
scaling, network, soft Dice, backward, clipping, AdamW. The plain loop is eager float32 of
segmentation-models-pytorch with its own Dice loss, AdamW, and ``loss.item()`` at each step, on
images that are floats already. Both, and the ways that auto did not choose, take turns in each
round, and a ratio is of one round.
"""

import argparse
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import nn

from benchmarks.claims import Claim, ratios, taking_turns
from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig
from brainseg.data.pipeline.batch import Batch
from brainseg.models.network import build_network
from brainseg.models.plain_unet import PlainUnet
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.measure import measure_steps, measure_updates
from brainseg.training.compute.plan import Compute
from brainseg.training.compute.rules import STEPS, compute_of, precision_of
from brainseg.training.loop import train_steps
from brainseg.training.losses import build_loss
from brainseg.training.optim import build_optimizer
from brainseg.training.schedules import Setting

NETWORKS = ("resnet50", "vgg16", "efficientnet-b0", "mobilenet_v2", "mit_b0", "plain")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LR = 1e-4
PLAIN, OURS = "plain loop", "ours"


@dataclass(frozen=True)
class Turns:
    """Seconds of a step, round by round."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]


def config_of(name: str, image_size: int, batch: int) -> TrialConfig:
    model = Plain() if name == "plain" else Encoder(name=name, weights="none")
    return TrialConfig(model=model, image_size=image_size, batch_size=batch)


def plain_loop(config: TrialConfig) -> Callable[[], None]:
    """One step of the loop that a user would write."""
    model, size = config.model, config.image_size
    body: nn.Module
    if isinstance(model, Plain):
        levels = {"width": model.width, "depth": model.depth}
        body = PlainUnet(**levels, dropout=model.dropout, norm=model.norm)
    else:
        body = smp.Unet(model.name, encoder_weights=None)
    network = body.to(DEVICE).train()
    loss_of = smp.losses.DiceLoss(mode="binary")
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    image_BCHW = torch.randn(config.batch_size, 3, size, size, device=DEVICE)
    mask_B1HW = torch.randint(0, 2, (config.batch_size, 1, size, size), device=DEVICE).float()

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_of(network(image_BCHW), mask_B1HW)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def our_step(config: TrialConfig, compute: Compute) -> Callable[[], None]:
    """One step as a trial takes it."""
    machine, images, size = Machine(DEVICE, compute), config.batch_size, config.image_size
    network = build_network(config.model, config.channels, size).to(DEVICE)
    network.lay_out(machine.memory_format)
    optimizer = build_optimizer(network, config.optimizer, implementation=compute.optimizer)
    slices_BHWD = torch.randint(0, 256, (images, size, size, 4), dtype=torch.uint8)
    slices_BHWD[..., -1] %= 2
    batch = Batch(slices_BHWD, np.arange(images))
    scaling_NC3 = torch.tensor([255.0, 128.0, 64.0], device=DEVICE).expand(images, 3, 3)
    shown_NC = torch.arange(3, device=DEVICE).expand(images, -1)
    loss = build_loss(config.loss)

    def step() -> None:
        losses = train_steps(
            network,
            [batch],
            loss,
            optimizer,
            lambda _: Setting(LR, 0.9),
            machine,
            scaling_NC3=scaling_NC3,
            shown_NC=shown_NC,
            first_step=0,
            clip_norm=config.clip_norm,
            images_at_once=images,
        )
        deque(losses, maxlen=0)
        machine.wait()

    return step


def chosen(config: TrialConfig) -> Compute:
    """What precision=auto chooses for a sweep of this network alone, measured now."""
    steps, updates = measure_steps(config, DEVICE), measure_updates(config, DEVICE)
    return compute_of(steps.seconds, updates.seconds, precision_of([steps.seconds]))


def turns(config: TrialConfig, ours: Compute, rounds: int) -> Turns:
    """The plain loop, ours, and the ways to compute that ours is not; a round to warm up."""
    works = {PLAIN: plain_loop(config), OURS: our_step(config, ours)}
    for name, compute in STEPS.items():
        other = replace(compute, optimizer=ours.optimizer)
        if other != ours:
            works[name] = our_step(config, other)
    cpu: dict[str, list[float]] = {name: [] for name in works}

    def timed(name: str) -> Callable[[], None]:
        def work() -> None:
            before = time.process_time()
            works[name]()
            cpu[name].append(time.process_time() - before)

        return work

    for work in works.values():
        work()
    wall = taking_turns({name: timed(name) for name in works}, rounds)
    return Turns(wall, cpu)


def best_of(seconds: dict[str, list[float]]) -> str:
    """The way to compute that took the least in all, ours among them."""
    return min((name for name in seconds if name != PLAIN), key=lambda name: sum(seconds[name]))


def claims_of(name: str, image_size: int, batch: int, rounds: int) -> list[Claim]:
    torch.manual_seed(0)
    config = config_of(name, image_size, batch)
    ours = chosen(config)
    took = turns(config, ours, rounds)
    title = f"a training step of {name}, {image_size} px, batch {batch}"
    how = ", ".join(ours.to_json().values())
    best = best_of(took.cpu if DEVICE.type == "cpu" else took.wall)
    seconds = took.cpu if DEVICE.type == "cpu" else took.wall
    return [
        Claim(
            what=f"{title} ({how}), on the clock",
            values=ratios(took.wall[PLAIN], took.wall[OURS]),
            baseline="eager float32",
            limit=1.0,
        ),
        Claim(
            what=f"{title} ({how}), CPU time",
            values=ratios(took.cpu[PLAIN], took.cpu[OURS]),
            baseline="eager float32",
            limit=1.0 if DEVICE.type == "cpu" else None,
        ),
        Claim(
            what=title,
            values=ratios(seconds[best], seconds[OURS]),
            baseline=f"the best way to compute it ({'this one' if best == OURS else best})",
            limit=0.97,
        ),
    ]


def claims(quick: bool) -> list[Claim]:
    """Of all networks; quick: of two on small images."""
    names, size, batch, rounds = (
        (("mobilenet_v2", "mit_b0"), 64, 4, 5) if quick else (NETWORKS, 128, 8, 4)
    )
    return [claim for name in names for claim in claims_of(name, size, batch, rounds)]


def profile(config: TrialConfig) -> None:
    """Print where the time of a plain and of our step goes."""
    for title, step in ((PLAIN, plain_loop(config)), (OURS, our_step(config, chosen(config)))):
        step(), step()
        with torch.profiler.profile() as profiler:
            step()
        table = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12)
        print(f"{title}\n{table}")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", metavar="NETWORK")
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    if args.profile:
        profile(config_of(args.profile, args.image_size, args.batch))
        return
    for name in args.networks.split(","):
        for claim in claims_of(name, args.image_size, args.batch, args.rounds):
            print(claim, flush=True)


if __name__ == "__main__":
    main()
