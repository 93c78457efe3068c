"""One trial from its first epoch to its last, or from wherever it was cut off.

Knows nothing of Ray or of who calls it. Where several processes train one network together, it
finds its peers in torch.distributed.

Shapes: B images, H rows, W columns, C channels, S slices of the pack.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from brainseg import checkpoint
from brainseg.augment import Augment
from brainseg.batches import scoring_batches, steps_per_epoch, training_batches
from brainseg.config import TrialConfig
from brainseg.loop import Machine, NotFinite, score_epoch, train_epoch
from brainseg.losses import build_loss
from brainseg.metrics import dice, iou, per_patient, summary
from brainseg.model import Network, build_network
from brainseg.normalise import scaling
from brainseg.optim import build_optimizer, build_schedule
from brainseg.pack import Pack, default_cache, open_pack
from brainseg.records import Run, TrialDir, append_line, read_json, write_text
from brainseg.remote import local_copy
from brainseg.sequences import shown_channels
from brainseg.space import Params, build
from brainseg.table import read_table

Row = dict[str, Any]
Report = Callable[[Row], None]
PREPARERS = 8  # threads that prepare batches, at most: 20 000 slices a second feed any GPU
PANELS = 6  # validation slices of which the prediction is kept


class TrialFailed(RuntimeError):
    """The trial cannot succeed as it is configured; trying it again would not help."""


@dataclass(frozen=True)
class Peers:
    """This process among those that train one network together."""

    rank: int
    world: int

    @classmethod
    def found(cls) -> "Peers":
        joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if joined else cls(0, 1)

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of every worker's ``tensor``."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, value: bool) -> bool:
        """Rank 0's ``value``, on every worker."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return bool(box[0])


@dataclass(frozen=True)
class Task:
    """A trial as a process needs to know it; all else is read from the run's folder."""

    run: Path
    trial: str
    params: Params
    threads: int = 1  # CPU threads for torch, and as many that prepare batches

    @property
    def folder(self) -> TrialDir:
        return Run(self.run).trial(self.trial)

    @property
    def config(self) -> TrialConfig:
        return build(TrialConfig(), self.params)


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
    if Peers.found().rank == 0:
        write_text(task.folder.failure, reason)


def train(task: Task, report: Report, device: torch.device) -> None:
    """Train and score epoch after epoch until the config's last, or until told to stop.

    After each epoch rank 0 writes the row, the checkpoint and, at a new best, the per-patient
    table and the panels; then every rank calls ``report``. Killed at any moment and called
    again, it goes on from the last checkpoint; called again after its end, it does nothing.
    """
    trial = Trial(task, device)
    trial.restore()
    while trial.epoch < trial.config.epochs and not trial.told_to_stop():
        report(trial.run_epoch())


class Trial:
    """The state of a running trial: network, optimizer, epochs done, best so far."""

    def __init__(self, task: Task, device: torch.device) -> None:
        config = task.config
        torch.set_num_threads(task.threads)
        torch.manual_seed(config.seed)
        self.config, self.folder, self.peers = config, task.folder, Peers.found()
        self.threads = task.threads
        self.machine = Machine(device, _bfloat16(config.precision, device))
        self._read_data(Run(task.run))
        self.network = build_network(config.model, config.channels).to(device)
        self.wrapped = _distributed(self.network, self.peers, config.sync_batch_norm)
        self.optimizer = build_optimizer(self.network, config.optimizer)
        self.steps = steps_per_epoch(len(self.train_rows), config.batch_size)
        self.schedule = build_schedule(
            config.schedule, peak=config.optimizer.lr, total_steps=self.steps * config.epochs
        )
        self.loss = build_loss(config.loss)
        self.epoch, self.best_dice, self.best_epoch = 0, -1.0, 0

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
        self.patients = table["patient"].tolist()
        levels = scaling(self.pack.histograms_NC256, self.patients, self.config.normalise)
        self.scaling_NC3 = self.machine.to_device(torch.from_numpy(levels))
        self.slice_numbers = table["slice"].tolist()
        self.train_rows = np.flatnonzero(table["part"] == "train")
        self.validation_rows = np.flatnonzero(table["part"] == "validation")

    def restore(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        state = checkpoint.load_latest(self.folder.path)
        if state:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
            self.best_dice = state["best_dice"]
        if self.peers.rank == 0:
            self.folder.keep_rows(self.epoch)

    def told_to_stop(self) -> bool:
        return self.peers.agree(self.folder.stop.exists())

    def run_epoch(self) -> Row:
        """Train, score, keep; return the epoch's row."""
        start = time.monotonic()
        train_loss = self._train()
        trained = time.monotonic()
        row = {"epoch": self.epoch + 1, "train_loss": train_loss, **self.score()}
        self.epoch += 1
        is_best = row["dice"] > self.best_dice
        if is_best:
            self.best_dice, self.best_epoch = row["dice"], self.epoch
        images = self.steps * min(self.config.batch_size, len(self.train_rows))
        row |= {
            "best_dice": self.best_dice,
            "best_epoch": self.best_epoch,
            "lr": self.schedule(self.epoch * self.steps - 1),
            "images_per_second": images / (trained - start),
            "seconds": time.monotonic() - start,
            "devices": self.peers.world,
        }
        self._keep(row, is_best)
        return row

    def _train(self) -> float:
        """One epoch of steps; its random numbers follow from (seed, epoch, worker) alone."""
        entropy = np.random.SeedSequence([self.config.seed, self.epoch, self.peers.rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        batches = training_batches(
            self.pack,
            self.train_rows,
            _augment(self.config),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epoch=self.epoch,
            rank=self.peers.rank,
            world=self.peers.world,
            threads=min(self.threads, PREPARERS),
        )
        try:
            with closing(batches):
                return train_epoch(
                    self.wrapped,
                    batches,
                    self.loss,
                    self.optimizer,
                    self.schedule,
                    self.machine,
                    scaling_NC3=self.scaling_NC3,
                    shown_NC=self._shown_channels(),
                    first_step=self.epoch * self.steps,
                    clip_norm=self.config.clip_norm,
                )
        except NotFinite as error:
            slices = ", ".join(self._name(row) for row in error.rows)
            raise TrialFailed(f"{error}, on the batch of {slices}") from error

    def _shown_channels(self) -> Tensor:
        slices, channels, _ = self.scaling_NC3.shape
        missing = self.config.augment.missing
        shown_NC = shown_channels(
            slices, channels, missing=missing, seed=self.config.seed, epoch=self.epoch
        )
        return self.machine.to_device(torch.from_numpy(shown_NC))

    def score(self) -> Row:
        """Score every validation slice exactly once, over all workers."""
        _share_batch_statistics(self.network, self.peers)
        batches = scoring_batches(
            self.pack,
            self.validation_rows,
            batch_size=self.config.batch_size,
            rank=self.peers.rank,
            world=self.peers.world,
        )
        share = score_epoch(self.network, batches, self.machine, scaling_NC3=self.scaling_NC3)
        visits_S = self.peers.add_up(share.visits_S)[torch.as_tensor(self.validation_rows)]
        assert (visits_S == 1).all(), "every validation slice is scored exactly once"
        counts_S3 = self.peers.add_up(share.counts_S3).cpu().numpy()
        loss = self.loss(self.peers.add_up(share.sums)).item()
        self.counts_S3 = counts_S3[self.validation_rows]
        self.scored_patients = [self.patients[row] for row in self.validation_rows]
        return {"val_loss": loss, **summary(self.counts_S3, self.scored_patients)}

    def _keep(self, row: Row, is_best: bool) -> None:
        """Row first, then checkpoint: a crash in between repeats the epoch, and loses nothing."""
        if self.peers.rank:
            return
        append_line(self.folder.metrics, row)
        if is_best:
            weights = self.network.state_dict()
            checkpoint.save_best(self.folder.path, {"network": weights, "epoch": self.epoch})
            write_text(self.folder.patients, self.patient_table().to_csv(index=False))
            self._keep_panels()
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best_dice": self.best_dice,
            "best_epoch": self.best_epoch,
        }
        checkpoint.save_latest(self.folder.path, self.epoch, state)

    def _name(self, row: int) -> str:
        return f"{self.patients[row]} slice {self.slice_numbers[row]}"

    def patient_table(self) -> pd.DataFrame:
        """Counts and scores of each validation patient, as last scored."""
        rows = []
        has_tumour = self.counts_S3[:, 0] + self.counts_S3[:, 2] > 0
        for patient, counts in per_patient(self.counts_S3, self.scored_patients).items():
            own = np.array([name == patient for name in self.scored_patients])
            tp, fp, fn = counts.tolist()
            rows.append(
                {
                    "patient": patient,
                    "slices": int(own.sum()),
                    "tumour_slices": int((own & has_tumour).sum()),
                    "tp": tp,
                    "fp": fp,
                    "fn": fn,
                    "dice": float(dice(counts)),
                    "iou": float(iou(counts)),
                }
            )
        return pd.DataFrame(rows)

    @torch.inference_mode()
    def _keep_panels(self) -> None:
        """Predictions of a fixed few validation slices: the largest tumour of each patient."""
        rows = panel_rows(self.pack, self.validation_rows, self.patients)
        batch = next(iter(scoring_batches(self.pack, rows, batch_size=len(rows))))
        with self.machine.cast():
            image_BCHW = batch.to(self.machine.device).image_BCHW
            logits_BHW = self.network(image_BCHW, self.scaling_NC3[batch.rows])
        temporary = self.folder.panels.with_suffix(".part.npz")
        np.savez_compressed(
            temporary,
            images=self.pack.images_NHWC[rows],
            truths=self.pack.masks_NHW[rows],
            predictions=(logits_BHW > 0).to(torch.uint8).cpu().numpy(),
            labels=np.array([self._name(row) for row in rows]),
            epoch=self.epoch,
        )
        temporary.replace(self.folder.panels)


def panel_rows(pack: Pack, rows: np.ndarray, patients: list[str]) -> np.ndarray:
    """The slice with the largest tumour of each of the first patients of ``rows``."""
    area = {row: int(pack.masks_NHW[row].sum()) for row in rows}
    largest: dict[str, int] = {}
    for row in rows:
        best = largest.setdefault(patients[row], row)
        if area[row] > area[best]:
            largest[patients[row]] = row
    return np.array(list(largest.values())[:PANELS])


def _distributed(network: Network, peers: Peers, sync_batch_norm: bool) -> nn.Module:
    if peers.world == 1:
        return network
    if sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, broadcast_buffers=False)


def _share_batch_statistics(network: nn.Module, peers: Peers) -> None:
    """Give every worker the mean of all workers' batch-norm statistics, so that all score alike.

    Those of frozen parts are the same everywhere, and are not touched.
    """
    for module in network.modules():
        for buffer in module.buffers(recurse=False):
            if peers.world > 1 and module.training and buffer.is_floating_point():
                peers.add_up(buffer)
                buffer /= peers.world


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
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
