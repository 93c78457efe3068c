"""The slices of one trial: packed, scaled, and divided into those to train and to validate on.

Shapes: N slices of the pack, C channels.
"""

from collections.abc import Generator, Hashable
from contextlib import closing
from functools import cached_property
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainseg.config.hyperparameters import TrialConfig
from brainseg.data.channels import stand_in
from brainseg.data.pack.store import open_pack
from brainseg.data.pipeline.augment import Augment
from brainseg.data.pipeline.batch import Batch, Rows
from brainseg.data.pipeline.batches import (
    scoring_batches,
    steps_per_epoch,
    training_batches,
)
from brainseg.data.pipeline.modality_dropout import shown_channels
from brainseg.data.pipeline.normalise import scaling
from brainseg.data.remote import local_copy
from brainseg.data.splits.folds import rows_of
from brainseg.data.table import read_slices
from brainseg.process import Log, Recent
from brainseg.records.cache import default_cache
from brainseg.records.fields import Fields
from brainseg.records.files import read_json
from brainseg.records.heartbeat import Heartbeat
from brainseg.records.run import Run
from brainseg.training.compute.machine import Machine
from brainseg.training.distributed import Ranks
from brainseg.training.keeping.panels import panel_rows

_levels = Recent[Hashable, NDArray[np.float32]](most=4)  # by pack and way of scaling
PREPARERS = 8  # threads that prepare batches, at most: 20 000 slices a second feed any GPU


class TrialData:
    """What one trial reads of a run's data.

    Attributes:
        scaling_NC3: input scaling of every slice, on the device, see ``normalise``.
        train_rows: rows of the pack to train on.
        validation_rows: rows of the pack to validate on.
    """

    def __init__(
        self,
        run: Run,
        config: TrialConfig,
        machine: Machine,
        threads: int,
        heartbeat: Heartbeat,
        *,
        parts: int = 1,
        log: Log,
    ) -> None:
        self.config, self.machine, self.threads = config, machine, threads
        self.heartbeat, self.parts = heartbeat, parts
        table = read_slices(run.slices)
        source = read_json(run.sweep, kind=dict, fields=Fields(("data",), {"data": dict}))["data"]
        self.pack = open_pack(
            table,
            lambda: local_copy(source["root"], default_cache(), copy=source.get("copy", "")),
            image_size=config.image_size,
            channels=config.channels,
            recorded=source["fingerprint"],
            log=log,
        )
        self.patients: list[str] = table["patient"].tolist()
        self.slice_numbers: list[int] = table["slice"].tolist()
        levels_NC3 = _levels.get(
            (source["fingerprint"], config.image_size, config.normalise, tuple(self.patients)),
            lambda: scaling(self.pack.histograms_NC256, self.patients, config.normalise),
        )
        self.scaling_NC3 = machine.to_device(torch.from_numpy(levels_NC3.copy()))
        self.train_rows, self.validation_rows = rows_of(table, config.fold, config.seed)
        self._flair = stand_in(source, config.channels)

    @cached_property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return steps_per_epoch(len(self.train_rows), self.config.batch_size)

    @property
    def images_per_epoch(self) -> int:
        """Images trained on in an epoch, by all ranks together."""
        return self.steps * min(self.config.batch_size, len(self.train_rows))

    def images_at_once(self, ranks: Ranks) -> int:
        """Images that go through the network together while it trains, on each rank."""
        share = min(self.config.batch_size, len(self.train_rows)) // ranks.world
        return max(1, ceil(share / self.parts))

    def training_batches(self, epoch: int, ranks: Ranks) -> Generator[Batch, None, None]:
        """This rank's share of each batch of ``epoch``; close it to end its threads early."""
        batches = training_batches(
            self.pack,
            self.train_rows,
            _augment(self.config),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            rank=ranks.rank,
            world=ranks.world,
            threads=min(self.threads, PREPARERS),
        )
        return self._beating(batches, ranks)

    def validation_batches(self, ranks: Ranks) -> Generator[Batch, None, None]:
        """This rank's share of the validation slices."""
        batches = scoring_batches(
            self.pack,
            self.validation_rows,
            batch_size=self.images_at_once(ranks) if self.parts > 1 else self.config.batch_size,
            rank=ranks.rank,
            world=ranks.world,
        )
        return self._beating(batches, ranks)

    def _beating(
        self, batches: Generator[Batch, None, None], ranks: Ranks
    ) -> Generator[Batch, None, None]:
        """The same batches; rank 0 leaves a sign of life with each."""
        with closing(batches):
            for batch in batches:
                if ranks.rank == 0:
                    self.heartbeat.beat()
                yield batch

    @cached_property
    def shown_rows(self) -> Rows:
        """Validation slices that are shown beside their predictions, see ``panels``."""
        return panel_rows(self.pack, self.validation_rows, self.patients)

    def shown_channels(self, epoch: int) -> Tensor:
        """The channel that each channel of every slice shows in ``epoch``, (N, C)."""
        slices, channels, _ = self.scaling_NC3.shape
        shown_NC = shown_channels(
            slices,
            channels,
            flair=self._flair,
            missing=self.config.augment.missing,
            seed=self.config.seed,
            epoch=epoch,
        )
        return self.machine.to_device(torch.from_numpy(shown_NC))

    def name(self, row: int) -> str:
        """Patient and slice of a row, in words."""
        return f"{self.patients[row]} slice {self.slice_numbers[row]}"


def _augment(config: TrialConfig) -> Augment:
    augment = config.augment
    return Augment(
        rotate_degrees=augment.rotate_degrees,
        shift=augment.shift,
        zoom=augment.zoom,
        hflip=augment.hflip,
        vflip=augment.vflip,
        extra=augment.extra,
    )
