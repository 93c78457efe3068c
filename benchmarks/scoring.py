"""What do scoring and training cost beyond what the network computes?

Run    python -m benchmarks.scoring [--quick]
Gives  for two networks and two sizes: the time of a validation with its scores, its table of
       patients and what its panels show, over that of the same forward passes alone on batches
       that are in memory already; and of the steps of ``loop.train_steps`` over forward pass,
       loss, backward pass and optimizer alone. For the largest network: what the look at every
       weight and moment takes, once an epoch, over one of its steps.
       Both take turns, a ratio is of one round. Four minutes on two cores, quick half a one.

CPU time of one thread on a CPU, so that it hardly matters what else the machine does; on a GPU the
wall clock. Data are phantoms, a pack in the page cache; weights are random; nothing is written.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.claims import Claim, ratios, taking_turns
from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.data.phantom import write_phantoms
from brainseg.data.pipeline.batches import Batch
from brainseg.records.run import Run
from brainseg.training.guards.finite import require_finite
from brainseg.training.loop import train_steps
from brainseg.training.optim import momentum_of, set_rates
from brainseg.training.schedules import Setting
from brainseg.training.trial import Trial
from brainseg.training.validation import validate
from tests.support.tasks import task_of
from tests.support.trials import run_of

NETWORKS = ("resnet18", "resnet50")  # the last is the largest
BATCH = 16
RATE = 1e-6  # so low that the network stays what it is
MOST = 1.05  # times the network's own time
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Work = Callable[[], object]


@contextmanager
def phantoms(slices: int) -> Iterator[Run]:
    """A run of small patients of whom about ``slices`` slices are validated on."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRAINSEG_CACHE"] = f"{folder}/cache"
        data = write_phantoms(Path(folder) / "data", patients=slices // 5, slices=16, size=64)
        yield run_of(data, Path(folder) / "run")


def trial_of(run: Run, name: str, size: int, slices: int) -> Trial:
    """A trial of one thread, which validates on ``slices`` slices, as far as its first epoch."""
    config = TrialConfig(model=Encoder(name=name, weights="none"), image_size=size)
    task = task_of(run, f"{name}-{size}", replace(config, batch_size=BATCH, precision="float32"))
    trial = Trial(task, DEVICE)
    trial.data.validation_rows = trial.data.validation_rows[:slices]
    return trial


def in_memory(batches: Iterator[Batch]) -> list[Batch]:
    """The batches on the device, whose own memory is used again."""
    copies = (batch._replace(slices_BHWD=batch.slices_BHWD.clone()) for batch in batches)
    return [batch.to(DEVICE) for batch in copies]


def finished(trial: Trial, work: Work) -> None:
    """Do it; return when the device has done it."""
    work()
    trial.machine.wait()


def scoring(trial: Trial) -> dict[str, Work]:
    """A whole validation, and its forward passes alone."""
    network, data = trial.learner.network, trial.data
    batches = in_memory(data.validation_batches(trial.ranks))
    scaling = [data.scaling_NC3[torch.from_numpy(batch.rows).to(DEVICE)] for batch in batches]

    def ours() -> None:
        validation = validate(network, data, trial.loss, trial.machine, trial.ranks)
        validation.scores()
        validation.patient_table().to_csv(index=False)

    @torch.inference_mode()
    def alone() -> None:
        network.eval()
        for batch, scaling_BC3 in zip(batches, scaling, strict=True):
            with trial.machine.cast():
                network(batch.image_BCHW, scaling_BC3)

    return {"ours": partial(finished, trial, ours), "alone": partial(finished, trial, alone)}


def training(trial: Trial) -> dict[str, Work]:
    """A step of a trial's loop, and what PyTorch does in it alone."""
    learner, data, loss = trial.learner, trial.data, trial.loss
    batches = in_memory(data.training_batches(0, trial.ranks))[:1]
    setting = Setting(RATE, momentum_of(trial.config.optimizer))
    scaling = [data.scaling_NC3[torch.from_numpy(batch.rows).to(DEVICE)] for batch in batches]

    def ours() -> list[Tensor]:
        steps = train_steps(
            learner.wrapped,
            batches,
            loss,
            learner.optimizer,
            lambda step: setting,
            trial.machine,
            scaling_NC3=data.scaling_NC3,
            shown_NC=data.shown_channels(0),
            first_step=0,
            clip_norm=0.0,
            images_at_once=BATCH,
        )
        return list(steps)

    def alone() -> None:
        learner.network.train()
        set_rates(learner.optimizer, setting)
        for batch, scaling_BC3 in zip(batches, scaling, strict=True):
            with trial.machine.cast():
                logits_BHW = learner.network(batch.image_BCHW, scaling_BC3)
            value = loss.of(loss.sums(logits_BHW, batch.mask_BHW))
            learner.optimizer.zero_grad(set_to_none=True)
            value.backward()
            learner.optimizer.step()

    return {"ours": partial(finished, trial, ours), "alone": partial(finished, trial, alone)}


def look(trial: Trial) -> Work:
    """The look at every weight, statistic and moment, once an epoch."""
    look = partial(require_finite, trial.learner.network, trial.learner.optimizer, trial.ranks)
    return partial(finished, trial, look)


def claims(quick: bool) -> list[Claim]:
    """What they cost beyond the network, for each network and size."""
    clock = time.perf_counter if DEVICE.type == "cuda" else time.process_time
    slices, rounds, sizes = (64, 3, (32, 64)) if quick else (96, 5, (64, 128))
    claimed: list[Claim] = []
    with phantoms(slices) as run:
        for name, size in ((name, size) for name in NETWORKS for size in sizes):
            trial, of = trial_of(run, name, size, slices), f"{name}, {size} px"
            steps, scores = training(trial), scoring(trial)
            for work in (*steps.values(), *scores.values()):
                work()  # oneDNN and cuDNN choose at the first call
            took = taking_turns(scores, rounds, clock)
            claimed.append(
                Claim(
                    what=f"scoring {slices} slices, {of}",
                    values=ratios(took["ours"], took["alone"]),
                    baseline="its forward passes alone",
                    limit=MOST,
                    better="lower",
                )
            )
            took = taking_turns(steps | {"look": look(trial)}, rounds, clock)
            claimed.append(
                Claim(
                    what=f"a training step of {BATCH}, {of}",
                    values=ratios(took["ours"], took["alone"]),
                    baseline="forward, loss, backward, optimizer alone",
                    limit=MOST,
                    better="lower",
                )
            )
        claimed.append(
            Claim(
                what=f"looking at every weight and moment once an epoch, {of}",
                values=ratios(took["look"], took["alone"]),
                baseline="one training step",
                better="lower",
            )
        )
    return claimed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer slices and rounds")
    for claim in claims(parser.parse_args().quick):
        print(claim)


if __name__ == "__main__":
    main()
