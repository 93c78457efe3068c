"""One trial from its first epoch to its last, or from wherever it was cut off.

Knows nothing of Ray or of who calls it. Where several processes train one network together, it
finds its ranks in torch.distributed.

Shapes: B images, H rows, W columns, C channels, S slices of the pack.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import fmean

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brainseg.config.hyperparameters import TrialConfig
from brainseg.data.channels import stand_in
from brainseg.data.pack.store import open_pack
from brainseg.data.pipeline.augment import Augment
from brainseg.data.pipeline.batches import scoring_batches, steps_per_epoch, training_batches
from brainseg.data.pipeline.modality_dropout import shown_channels
from brainseg.data.pipeline.normalise import scaling
from brainseg.data.remote import local_copy
from brainseg.data.splits.draw import rows_of
from brainseg.data.table import read_table
from brainseg.evaluation.metrics import patient_table, summary
from brainseg.models.freezing import changed
from brainseg.records.cache import default_cache
from brainseg.records.files import append_line, read_json, write_json, write_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.timing import PhaseTimer
from brainseg.training import checkpoint
from brainseg.training.distributed import Ranks, share_batch_statistics
from brainseg.training.learner import Learner
from brainseg.training.loop import Machine, NotFinite, score_epoch, train_steps
from brainseg.training.losses import build_loss
from brainseg.training.lr_range import (
    STEPS,
    Bounds,
    OnStep,
    RangeCurve,
    ignore_step,
    range_test,
    read_bounds,
    suggest,
    write_curve,
)
from brainseg.training.optim import momentum_of
from brainseg.training.panels import panel_rows, write_panels
from brainseg.training.schedules import ScheduleFunction, build_schedule, within
from brainseg.training.task import Task, TrialFailed

Report = Callable[[EpochRow], None]
PREPARERS = 8  # threads that prepare batches, at most: 20 000 slices a second feed any GPU


def run_trial(task: Task, report: Report, device: torch.device) -> None:
    """Train and score; failures that trying again cannot cure are noted, and it ends quietly."""
    try:
        train(task, report, device)
    except (TrialFailed, ValueError) as error:
        reason = str(error)
    except torch.OutOfMemoryError:
        reason = "out of GPU memory; try a smaller batch_size or image_size"
    else:
        return
    if Ranks.current().rank == 0:
        write_text(task.folder.failure, reason)


def train(task: Task, report: Report, device: torch.device) -> None:
    """Train and score epoch after epoch until the config's last, or until told to pause or stop.

    After each epoch rank 0 writes the row, the checkpoint and, at a new best, the per-patient
    table and the panels; then every rank calls ``report``. Killed at any moment and called
    again, it goes on from the last checkpoint; called again after its end, it does nothing.
    """
    trial = Trial(task, device)
    trial.restore()
    trial.note_begin()
    try:
        while trial.epoch < trial.last_epoch() and not trial.told_to_stop():
            report(trial.run_epoch())
        trial.audit()
    finally:
        trial.note_costs()


class Trial:
    """The state of a running trial: network, optimizer, epochs done, best so far."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.timer, self.has_begun = PhaseTimer(), False
        config = task.config
        torch.set_num_threads(task.threads)
        torch.manual_seed(config.seed)
        self.config, self.folder, self.ranks = config, task.folder, Ranks.current()
        self.threads = task.threads
        self.machine = Machine(device, _bfloat16(config.precision, device))
        self._read_data(Run(task.run))
        self.steps = steps_per_epoch(len(self.train_rows), config.batch_size)
        self.loss = build_loss(config.loss)
        self.epoch, self.best_dice, self.best_epoch = 0, -1.0, 0
        self.learner = Learner(config, device, self.ranks)
        self.parameters = sum(p.numel() for p in self.learner.network.parameters())
        self.schedule = self._schedule()

    def _read_data(self, run: Run) -> None:
        table = read_table(run.slices)
        data = read_json(run.sweep)["data"]
        self.pack = open_pack(
            table,
            local_copy(data["root"], default_cache(), copy=data.get("copy", "")),
            image_size=self.config.image_size,
            channels=self.config.channels,
            recorded=data["fingerprint"],
        )
        self.flair = stand_in(data, self.config.channels)
        self.patients = table["patient"].tolist()
        levels = scaling(self.pack.histograms_NC256, self.patients, self.config.normalise)
        self.scaling_NC3 = self.machine.to_device(torch.from_numpy(levels))
        self.slice_numbers = table["slice"].tolist()
        self.train_rows, self.validation_rows = rows_of(table, self.config.fold)

    def _schedule(self) -> ScheduleFunction:
        """The learning rate of every step, between bounds that a range test found if asked for."""
        config, optimizer = self.config.schedule, self.config.optimizer
        peak = optimizer.lr
        if self.config.lr == "auto":
            bounds = self._bounds()
            peak, config = bounds.high, within(config, floor=bounds.low / bounds.high)
        return build_schedule(
            config,
            peak=peak,
            momentum=momentum_of(optimizer),
            steps_per_epoch=self.steps,
            epochs=self.config.epochs,
        )

    def _bounds(self) -> Bounds:
        """Of the trial's own range test, taken once; it leaves the network as it was."""
        bounds = read_bounds(self.folder.lr_range) if self.folder.lr_range.exists() else None
        bounds = self.ranks.broadcast(bounds)
        if bounds is None:
            before = deepcopy(self.learner.network.state_dict())
            curve = self.range_test()
            bounds = self.ranks.broadcast(suggest(curve))
            if self.ranks.rank == 0:
                write_curve(self.folder.lr_range, curve, bounds)
            self.learner.reset(before)
        return bounds

    def range_test(
        self,
        *,
        steps: int = STEPS,
        lowest: float = 1e-7,
        highest: float = 10.0,
        on_step: OnStep = ignore_step,
    ) -> RangeCurve:
        """The loss under a growing learning rate; network and optimizer are left as it ends."""
        unseen = self.config.epochs  # no epoch of the training draws the same random numbers

        def losses(schedule: ScheduleFunction) -> Iterator[float]:
            for k in range(steps // self.steps + 1):  # the last step's loss is seen after it
                yield from self._train_steps(unseen + k, schedule, k * self.steps)

        return range_test(
            losses,
            momentum=momentum_of(self.config.optimizer),
            steps=steps,
            lowest=lowest,
            highest=highest,
            on_step=on_step,
        )

    def audit(self) -> None:
        """Compare what is frozen now with what it was before the first step, and note it.

        Raises:
            TrialFailed: a frozen tensor changed, which only a fault in brainseg can cause.
        """
        if not self.learner.network.blocks:
            return
        wrong: list[str] = []
        if self.ranks.rank == 0:
            now = self.learner.network.fingerprints()
            wrong = changed(read_json(self.folder.frozen), now)
            stage = {"epoch": self.epoch, "blocks": self.learner.frozen}
            earlier = [done for done in self.folder.audit() if done["epoch"] < self.epoch]
            self.folder.write_audit([*earlier, {**stage, "tensors": len(now), "changed": wrong}])
        if wrong := self.ranks.broadcast(wrong):
            raise TrialFailed(
                f"{len(wrong)} frozen tensors changed, the first is {wrong[0]!r}: a fault in "
                "brainseg; please report it with this trial's config.json"
            )

    def restore(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        state = checkpoint.load_latest(self.folder.path)
        if not state and self.ranks.rank == 0:
            write_json(self.folder.frozen, self.learner.network.fingerprints())
        if state:
            self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
            self.best_dice = state["best_dice"]
            self.learner.load_state(state, self.epoch)
        if self.ranks.rank == 0:
            self.folder.truncate_rows(self.epoch)

    def note_begin(self) -> None:
        """Append where each worker is, and on what."""
        device = self.machine.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        place = {"host": socket.gethostname(), "device": str(device), "name": name}
        places = self.ranks.all_gather(place)
        if self.ranks.rank == 0:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            append_line(self.folder.begins, {"at": at, "epoch": self.epoch, "workers": places})

    def last_epoch(self) -> int:
        """The last epoch to train now: the config's, or the one to pause after."""
        until = self.folder.pause_epoch
        return self.ranks.broadcast(min(self.config.epochs, until or self.config.epochs))

    def told_to_stop(self) -> bool:
        return self.ranks.broadcast(self.folder.stop.exists())

    def run_epoch(self) -> EpochRow:
        """Train, score, keep; return the epoch's row."""
        self.timer.charge("save" if self.has_begun else "setup")
        if self.learner.frozen_in(self.epoch) != self.learner.frozen:
            self.audit()
            self.learner.freeze_for(self.epoch)
        train_loss = self._train()
        scores = self.score()
        self.timer.charge("validate")
        self.epoch += 1
        is_best = scores["dice"] > self.best_dice
        if is_best:
            self.best_dice, self.best_epoch = scores["dice"], self.epoch
        images = self.steps * min(self.config.batch_size, len(self.train_rows))
        row = EpochRow.from_json(
            {
                "epoch": self.epoch,
                "train_loss": train_loss,
                **scores,
                "best_dice": self.best_dice,
                "best_epoch": self.best_epoch,
                **asdict(self.schedule(self.epoch * self.steps - 1)),
                "frozen_blocks": self.learner.frozen,
                "images_per_second": images / self.timer.spent["train"],
                **self._times(),
                "devices": self.ranks.world,
                "parameters": self.parameters,
            }
        )
        self._keep(row, is_best)
        self.note_costs()
        return row

    def _times(self) -> dict[str, float]:
        """Seconds of the epoch; of the start as well in the first one of this process."""
        spent = self.timer.spent
        times = {"train_seconds": spent["train"], "score_seconds": spent["validate"]}
        times |= {"seconds": spent["train"] + spent["validate"]}
        if not self.has_begun:
            times |= {"start_seconds": spent["setup"]}
        self.has_begun = True
        return times

    def note_costs(self) -> None:
        """Append what was spent since the last note; of a killed process that is never known."""
        self.timer.charge("save" if self.has_begun else "setup")
        if self.ranks.rank == 0:
            place = {"device": self.machine.device.type, "threads": self.threads}
            cost = {"epoch": self.epoch, **self.timer.read(), "devices": self.ranks.world, **place}
            append_line(self.folder.costs_path, cost)

    def _train(self) -> float:
        """The mean loss of one epoch's steps."""
        first_step = self.epoch * self.steps
        try:
            loss = fmean(self._train_steps(self.epoch, self.schedule, first_step))
            self.machine.wait()
            return loss
        except NotFinite as error:
            slices = ", ".join(self._name(row) for row in error.rows)
            raise TrialFailed(f"{error}, on the batch of {slices}") from error
        finally:
            self.timer.charge("train")

    def _train_steps(
        self, epoch: int, schedule: ScheduleFunction, first_step: int
    ) -> Iterator[float]:
        """The loss of each step; random numbers follow from (seed, epoch, worker) alone."""
        entropy = np.random.SeedSequence([self.config.seed, epoch, self.ranks.rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        batches = training_batches(
            self.pack,
            self.train_rows,
            _augment(self.config),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            rank=self.ranks.rank,
            world=self.ranks.world,
            threads=min(self.threads, PREPARERS),
        )
        with closing(batches):
            yield from train_steps(
                self.learner.wrapped,
                batches,
                self.loss,
                self.learner.optimizer,
                schedule,
                self.machine,
                scaling_NC3=self.scaling_NC3,
                shown_NC=self._shown_channels(epoch),
                first_step=first_step,
                clip_norm=self.config.clip_norm,
            )

    def _shown_channels(self, epoch: int) -> Tensor:
        slices, channels, _ = self.scaling_NC3.shape
        shown_NC = shown_channels(
            slices,
            channels,
            flair=self.flair,
            missing=self.config.augment.missing,
            seed=self.config.seed,
            epoch=epoch,
        )
        return self.machine.to_device(torch.from_numpy(shown_NC))

    def score(self) -> dict[str, float]:
        """Score every validation slice exactly once, over all workers."""
        share_batch_statistics(self.learner.network, self.ranks)
        batches = scoring_batches(
            self.pack,
            self.validation_rows,
            batch_size=self.config.batch_size,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )
        self.machine.wait()
        start = time.monotonic()
        share = score_epoch(
            self.learner.network, batches, self.loss, self.machine, scaling_NC3=self.scaling_NC3
        )
        self.machine.wait()
        took = (time.monotonic() - start) / max(int(share.visits_S.sum()), 1)
        visits_S = self.ranks.all_reduce(share.visits_S)[torch.as_tensor(self.validation_rows)]
        assert (visits_S == 1).all(), "every validation slice is scored exactly once"
        counts_S3 = self.ranks.all_reduce(share.counts_S3).cpu().numpy()
        loss = self.loss.of(self.ranks.all_reduce(share.sums)).item()
        self.counts_S3 = counts_S3[self.validation_rows]
        self.scored_patients = [self.patients[row] for row in self.validation_rows]
        scores = summary(self.counts_S3, self.scored_patients)
        return {"val_loss": loss, **scores, "milliseconds_per_image": 1000 * took}

    def _keep(self, row: EpochRow, is_best: bool) -> None:
        """Checkpoint last: a crash before it repeats the epoch, so that nothing is lost."""
        if self.ranks.rank:
            return
        append_line(self.folder.metrics, row.to_json())
        if is_best:
            weights = self.learner.network.state_dict()
            checkpoint.save_best(self.folder.path, {"network": weights, "epoch": self.epoch})
            write_text(self.folder.patients, self.patient_table().to_csv(index=False))
            self._keep_panels()
        if self.epoch == self.config.epochs:
            write_text(self.folder.last, self.patient_table().to_csv(index=False))
        state = {
            **self.learner.state(),
            "epoch": self.epoch,
            "best_dice": self.best_dice,
            "best_epoch": self.best_epoch,
        }
        checkpoint.save_latest(self.folder.path, self.epoch, state)

    def _name(self, row: int) -> str:
        return f"{self.patients[row]} slice {self.slice_numbers[row]}"

    def patient_table(self) -> pd.DataFrame:
        """Counts and scores of each validation patient, as last scored."""
        return patient_table(self.counts_S3, self.scored_patients)

    @torch.inference_mode()
    def _keep_panels(self) -> None:
        """Predictions of a fixed few validation slices: the largest tumour of each patient."""
        rows = panel_rows(self.pack, self.validation_rows, self.patients)
        batch = next(iter(scoring_batches(self.pack, rows, batch_size=len(rows))))
        with self.machine.cast():
            image_BCHW = batch.to(self.machine.device).image_BCHW
            logits_BHW = self.learner.network(image_BCHW, self.scaling_NC3[batch.rows])
        predictions_BHW = (logits_BHW > 0).to(torch.uint8).cpu().numpy()
        labels = [self._name(row) for row in rows]
        write_panels(self.folder.panels, self.pack, rows, predictions_BHW, labels, self.epoch)


def _augment(config: TrialConfig) -> Augment:
    a = config.augment
    return Augment(
        rotate_degrees=a.rotate_degrees,
        shift=a.shift,
        zoom=a.zoom,
        hflip=a.hflip,
        vflip=a.vflip,
    )


def _bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: "auto" means where the hardware does."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
