"""How close does a training step come to what the device can do, and to what a plain loop does?

Run    python -m benchmarks.gpu [--networks resnet50,vgg16] [--batches 16,64] [--image-size 256]
Gives  for each network, batch and way to compute (bfloat16, TF32, float32, and bfloat16 compiled
       by torch.compile): images a second, the share of the arithmetic and of the memory roof, and
       how many times as fast it is as a plain eager loop in float32. Ten minutes on a GPU. It also
       runs on a CPU, where small sizes are wise.

A step is that of ``training.loop``: pinned uint8 batches to the device, forward, soft Dice,
backward, clipping, fused AdamW. The plain loop is what a user would write: float32 tensors that are
on the device already, PyTorch's defaults, the loss read at each step. All take turns.

Arithmetic roof: what a product of two square matrices reaches here, in the same precision; FLOPs
are those of products and convolutions. Memory roof: what a copy on the device reaches; bytes are
the least that a step moves: each kept activation written and read, weights read twice, gradients
and the optimizer's state written and read. Needs neither Ray nor albumentations.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

from benchmarks.claims import Claim, NotHere, ratios, taking_turns

try:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from benchmarks.roofs import Roofs, Way, least_bytes, roofs, set_way, ways_on
    from brainseg.config.hyperparameters import AdamW, Dice, Encoder, Plain
    from brainseg.data.pipeline.batch import Batch
    from brainseg.models.flops import work
    from brainseg.models.network import Network, build_network
    from brainseg.records.run import Precision
    from brainseg.training.compute.compiled import compile_calls, compile_seconds
    from brainseg.training.compute.machine import Machine
    from brainseg.training.compute.plan import Compute
    from brainseg.training.loop import train_steps
    from brainseg.training.losses import build_loss, pixel_sums, soft_dice
    from brainseg.training.optim import build_optimizer
    from brainseg.training.schedules import Setting
except ModuleNotFoundError as missing:
    sys.exit(
        f"benchmarks/gpu.py needs {missing.name}, which is not installed: install it with pip, or "
        "carry its wheel"
    )

NETWORKS = ("resnet50", "vgg16", "efficientnet-b0", "mobilenet_v2", "mit_b0")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
SCALING = (255.0, 128.0, 64.0)  # ceiling, mean, deviation
Steps = Callable[[], None]  # a few training steps, to their end


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is measured, and where."""

    device: torch.device
    image_size: int
    steps: int  # in a round
    rounds: int


def network_of(name: str, setup: Setup) -> Network:
    torch.manual_seed(0)
    return build_network(_model(name), 3, setup.image_size).to(setup.device)


def _model(name: str) -> Encoder | Plain:
    return Plain(width=8, depth=2) if name == "plain" else Encoder(name=name, weights="none")


def our_steps(network: Network, way: Way, batch: int, setup: Setup) -> Steps:
    """Steps of ``training.loop`` on one batch in pinned memory."""
    precision: Precision = "bfloat16" if way.bfloat16 else "float32"
    machine = Machine(setup.device, Compute(precision=precision, optimizer="fused"))
    optimizer = build_optimizer(network, AdamW(), implementation="fused")
    if way.compiled:
        compile_calls(network)
    slices_BHWD = _slices(batch, setup.image_size)
    if setup.device.type == "cuda":
        slices_BHWD = slices_BHWD.pin_memory()
    batches = [Batch(slices_BHWD, np.arange(batch))] * setup.steps
    scaling_NC3 = torch.tensor(SCALING, device=setup.device).expand(batch, 3, 3)
    shown_NC = torch.arange(3, device=setup.device).expand(batch, 3)

    def take() -> None:
        set_way(way, setup.device)
        losses = train_steps(
            network,
            batches,
            build_loss(Dice()),
            optimizer,
            lambda step: Setting(lr=1e-3, momentum=0.9),
            machine,
            scaling_NC3=scaling_NC3,
            shown_NC=shown_NC,
            first_step=0,
            clip_norm=1.0,
            images_at_once=batch,
        )
        for _ in losses:
            pass
        machine.wait()

    return take


def plain_steps(network: Network, batch: int, setup: Setup) -> Steps:
    """What a user would write: PyTorch's defaults, in float32."""
    slices_BHWD = _slices(batch, setup.image_size).to(setup.device)
    image_BCHW = ((slices_BHWD[..., :3] - 128.0) / 64).permute(0, 3, 1, 2).contiguous()
    mask_BHW = slices_BHWD[..., 3]
    body: nn.Module = network.body.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(body.parameters(), lr=1e-3)

    def take() -> None:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, False
        body.train()
        for _ in range(setup.steps):
            optimizer.zero_grad()
            loss = soft_dice(pixel_sums(body(image_BCHW)[:, 0], mask_BHW), smooth=1.0)
            loss.backward()
            nn.utils.clip_grad_norm_(body.parameters(), 1.0)
            optimizer.step()
            loss.item()
        Machine(setup.device).wait()

    return take


def _slices(batch: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    slices_BHWD = torch.randint(0, 256, (batch, size, size, 4), generator=generator)
    slices_BHWD[..., 3] %= 2
    return slices_BHWD.to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network reaches at one batch, computed one way."""

    network: str
    batch: int
    way: str
    images: list[float]  # a second, in each round
    arithmetic: float  # shares of the roofs
    memory: float
    times_plain: list[float]
    compiling: float  # seconds


def measure(name: str, batch: int, ways: tuple[Way, ...], setup: Setup, limits: Roofs) -> list[Row]:
    """All ways to compute and the plain loop, by turns."""
    works: dict[str, Callable[[], object]] = {
        "plain": plain_steps(network_of(name, setup), batch, setup)
    }
    compiling = {}
    for way in ways:
        works[way.name] = our_steps(network_of(name, setup), way, batch, setup)
    for kind, take in works.items():  # to warm up, too
        before = compile_seconds()
        take()
        compiling[kind] = compile_seconds() - before
    seconds = taking_turns(works, setup.rounds)
    cost = work(_model(name), channels=3, image_size=setup.image_size, images=batch, frozen=0)
    rows = []
    for way in ways:
        a_step = [taken / setup.steps for taken in seconds[way.name]]
        rows.append(
            Row(
                network=name,
                batch=batch,
                way=way.name,
                images=[batch / step for step in a_step],
                arithmetic=cost.step_flops / median(a_step) / limits.flops[way.name],
                memory=least_bytes(cost, way) / median(a_step) / limits.bandwidth,
                times_plain=ratios(seconds["plain"], seconds[way.name]),
                compiling=compiling[way.name],
            )
        )
    return rows


def claims(quick: bool) -> list[Claim]:
    """That no network is slower than the plain loop, and how far bfloat16 is from the roofs."""
    if not torch.cuda.is_available():
        raise NotHere("there is no GPU")
    setup = Setup(device=GPU, image_size=256, steps=10, rounds=3 if quick else 7)
    ways = ways_on(GPU, compiled=not quick)
    limits = roofs(GPU, ways, side=8192)
    found = []
    for name in NETWORKS[: 2 if quick else None]:
        for row in measure(name, 16, ways, setup, limits):
            what = f"a training step of {name}, 256 px, batch 16, {row.way}"
            plain = "a plain eager loop in float32"
            limit = 1.0 if row.way in ("bfloat16", "TF32") else None
            found.append(Claim(what=what, values=row.times_plain, baseline=plain, limit=limit))
            found.append(Claim(what=f"images a second, {what}", values=row.images, unit="1/s"))
            share = [100 * max(row.arithmetic, row.memory)]
            found.append(Claim(what=f"share of the nearer roof, {what}", values=share, unit="%"))
    return found


def networks_here(names: list[str]) -> list[str]:
    """Those of ``names`` that can be built; a plain U-Net where there are no encoders."""
    if find_spec("segmentation_models_pytorch"):
        return names
    print("segmentation_models_pytorch is not installed: a plain U-Net alone is measured")
    return ["plain"]


def main() -> None:
    device = GPU if torch.cuda.is_available() else CPU
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS), help="or plain, a small U-Net")
    parser.add_argument("--batches", default="16,64")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=8192 if device == GPU else 1024)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    setup = Setup(device=device, image_size=args.image_size, steps=args.steps, rounds=args.rounds)
    ways = ways_on(device, compiled=not args.no_compile)
    limits = roofs(device, ways, side=args.side)
    name = torch.cuda.get_device_name() if device == GPU else "CPU"
    print(f"{name}, torch {torch.__version__}, {args.image_size} px")
    print(f"copy {limits.bandwidth / 1e9:.0f} GB/s; products, TFLOP/s: ", end="")
    print(", ".join(f"{way} {flops / 1e12:.2f}" for way, flops in limits.flops.items()))
    print("network          batch  way                 images/s (lowest to highest)  ", end="")
    print("arithmetic  memory  times plain  compiling")
    for network in networks_here(args.networks.split(",")):
        for batch in map(int, args.batches.split(",")):
            try:
                rows = measure(network, batch, ways, setup, limits)
            except torch.OutOfMemoryError:
                print(f"{network:16} {batch:5}  does not fit into the GPU's memory")
                continue
            for row in rows:
                print(_line(row), flush=True)


def _line(row: Row) -> str:
    spread = f"({min(row.images):.1f} to {max(row.images):.1f})"
    return (
        f"{row.network:16} {row.batch:5}  {row.way:18} {median(row.images):9.1f} {spread:20} "
        f"{row.arithmetic:9.1%} {row.memory:7.1%} {median(row.times_plain):8.2f}x "
        f"{row.compiling:9.1f} s"
    )


if __name__ == "__main__":
    main()
