"""Is a training step slower than one of Lightning, on the same network, batches and optimizer?

Run    make bench ARGS="--only lightning_loop"    (which installs Lightning)
Gives  how many times as fast an epoch of our loop is as one of a Lightning Trainer, of rounds in
       which the two take turns: for a small plain U-Net, where what surrounds a step counts, and
       for MobileNetV2, where the step itself does.

Both compute in float32, in the same memory layout, with the same AdamW, and clip gradients at 1.
The module and the Trainer are as Lightning's documentation shows them; logger, checkpoints, summary
and progress bar are turned off, as ours writes none here. One thread each, by CPU time.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.claims import Claim, NotHere, ratios, taking_turns
from brainseg.config.hyperparameters import AdamW, Dice, Encoder, Plain
from brainseg.data.pipeline.batch import Batch
from brainseg.models.network import Network, build_network
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.plan import Compute
from brainseg.training.loop import train_steps
from brainseg.training.losses import build_loss, pixel_sums, soft_dice
from brainseg.training.optim import build_optimizer
from brainseg.training.schedules import Setting

MACHINE = Machine(torch.device("cpu"), Compute(optimizer="foreach"))
LOSS = build_loss(Dice())
Model = Encoder | Plain
SIZES: dict[str, tuple[Model, int, int, int]] = {  # network, pixels, images a step, steps an epoch
    "a plain U-Net of width 4, 64 px, batch 8": (Plain(width=4, depth=2), 64, 8, 20),
    "MobileNetV2, 64 px, batch 8": (Encoder(name="mobilenet_v2", weights="none"), 64, 8, 6),
}


def batches_of(pixels: int, images: int, steps: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    shape = (steps * images, pixels, pixels, 4)
    slices_BHWD = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    slices_BHWD[..., 3] %= 2
    rows = np.arange(steps * images)
    return [
        Batch(slices_BHWD[start : start + images], rows[start : start + images])
        for start in range(0, len(rows), images)
    ]


def scaling(slices: int) -> Tensor:
    return torch.tensor([255.0, 128.0, 64.0]).expand(slices, 3, 3)


def network_of(model: Model, pixels: int) -> Network:
    torch.manual_seed(0)
    return build_network(model, 3, pixels)


def our_epoch(network: Network, batches: list[Batch]) -> Callable[[], object]:
    """An epoch of ``training.loop``."""
    optimizer = build_optimizer(network, AdamW(), implementation=MACHINE.compute.optimizer)
    slices = sum(len(batch.rows) for batch in batches)

    def epoch() -> None:
        losses = train_steps(
            network,
            batches,
            LOSS,
            optimizer,
            lambda step: Setting(lr=1e-3, momentum=0.9),
            MACHINE,
            scaling_NC3=scaling(slices),
            shown_NC=torch.arange(3).expand(slices, 3),
            first_step=0,
            clip_norm=1.0,
            images_at_once=len(batches[0].rows),
        )
        sum(losses)

    return epoch


def their_epoch(network: Network, batches: list[Batch]) -> Callable[[], object]:
    """An epoch of a Trainer."""
    import lightning

    class Segmenter(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, _: int) -> Tensor:
            image_BCHW, mask_BHW = batch
            logits_BHW = self.network(image_BCHW, scaling(len(image_BCHW)))
            return soft_dice(pixel_sums(logits_BHW, mask_BHW), smooth=1.0)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    module = Segmenter()
    pairs: Any = [(batch.image_BCHW, batch.mask_BHW) for batch in batches]
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    def epoch() -> None:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        trainer.fit(module, train_dataloaders=DataLoader(pairs, batch_size=None))

    return epoch


def claims(quick: bool) -> list[Claim]:
    """Ours against Lightning's, for each of ``SIZES``."""
    if find_spec("lightning") is None:
        raise NotHere("lightning is not installed; make bench installs it")
    torch.set_num_threads(1)  # one process, one core: nothing else then decides the ratio
    return [measured(name, rounds=3 if quick else 11) for name in SIZES]


def measured(name: str, *, rounds: int, shrink: int = 1) -> Claim:
    """The claim of one of ``SIZES``.

    Args:
        shrink: by how much its epoch is shortened.
    """
    model, pixels, images, steps = SIZES[name]
    batches = batches_of(pixels, images, max(1, steps // shrink))
    works = {
        "ours": our_epoch(network_of(model, pixels), batches),
        "theirs": their_epoch(network_of(model, pixels), batches),
    }
    taking_turns(works, 1)  # to warm up
    seconds = taking_turns(works, rounds, time.process_time)
    return Claim(
        what=f"CPU time of an epoch of {len(batches)} training steps of {name}",
        values=ratios(seconds["theirs"], seconds["ours"]),
        baseline="a Lightning Trainer",
        limit=0.97,  # that the two are equal cannot be told from less
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    for claim in claims(parser.parse_args().quick):
        print(claim)


if __name__ == "__main__":
    main()
