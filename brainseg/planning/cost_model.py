"""What any configuration costs an epoch, estimated from a few that were measured.

A line goes through the measured ones: time over floating-point operations, memory over weights and
activations, both counted by ``work``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from brainseg.config.hyperparameters import Encoder, Freeze, Gradual, Nothing, Sgd, TrialConfig
from brainseg.data.pipeline.batches import steps_per_epoch
from brainseg.models.flops import FLOAT, Work, blocks_of, work
from brainseg.models.freezing import frozen_blocks
from brainseg.planning.probe import Measured
from brainseg.training.keeping.save_points import COST_SHARE, LONGEST_SECONDS
from brainseg.training.lr_range import STEPS


@dataclass(frozen=True)
class Line:
    """``constant + slope * x``; neither is negative."""

    constant: float
    slope: float

    def __call__(self, x: float) -> float:
        return self.constant + self.slope * x


def line_through(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """The line of least relative squares; a single x gives a line from the origin.

    More work never takes less time, and no work takes no negative time: a line that would fall is
    made level, and one that would start below zero starts at zero.
    """
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    scaled = x / y
    origin = Line(0.0, float(scaled.sum() / (scaled @ scaled)))
    if len(set(xs)) < 2:
        return origin
    slope, constant = np.polyfit(x, y, 1, w=1 / y)
    if slope < 0:
        return Line(float((1 / y).sum() / (1 / y**2).sum()), 0.0)
    return origin if constant < 0 else Line(float(constant), float(slope))


def cost_key(config: TrialConfig) -> TrialConfig:
    """Equal for configs whose epochs cost the same: rates, weights and loss do not matter."""
    model = config.model
    if isinstance(model, Encoder):
        model = replace(model, weights="none", layer_decay=1.0)
    return TrialConfig(
        model=model,
        optimizer=type(config.optimizer)(),
        channels=config.channels,
        image_size=config.image_size,
        batch_size=config.batch_size,
        precision=config.precision,
    )


def work_at(config: TrialConfig, workers: int, epoch: int = 0, epochs: int = 1) -> Work:
    """The work of one of the workers, in ``epoch`` of ``epochs``, from 0.

    Raises:
        ValueError: the network cannot be built, or not run on such images.
    """
    model = config.model
    freeze = model.freeze if isinstance(model, Encoder) else Nothing()
    blocks = blocks_of(model, config.channels, config.image_size)
    return work(
        model,
        channels=config.channels,
        image_size=config.image_size,
        images=max(1, config.batch_size // workers),
        frozen=frozen_blocks(freeze, blocks, epoch=epoch, epochs=epochs),
    )


class CostModel:
    """What a trial costs; each of its workers trains on a share of every batch."""

    def __init__(self, measured: Mapping[TrialConfig, Measured], workers: int = 1) -> None:
        """``measured``: at least one configuration, by its ``cost_key``, on a worker's share."""
        self.measured, self.workers = dict(measured), workers
        works, costs = [work_at(key, workers) for key in measured], list(measured.values())
        operations, parameters = [w.step_flops for w in works], [w.parameters for w in works]
        self.step = line_through(operations, [c.step_seconds for c in costs])
        self.image = line_through([w.image_flops for w in works], [c.image_seconds for c in costs])
        self.start = line_through(parameters, [c.start_seconds for c in costs])
        self.keep = line_through(parameters, [c.keep_seconds for c in costs])
        self.peak = line_through([w.memory for w in works], [c.peak_bytes for c in costs])

    def step_seconds(self, config: TrialConfig) -> float:
        """Seconds of a step: the mean over epochs, which differ under gradual unfreezing."""
        epochs = config.epochs
        works = [work_at(config, self.workers, epoch, epochs) for epoch in range(epochs)]
        return fmean(self.step(work.step_flops) for work in works) * self._pace(config)

    def _pace(self, config: TrialConfig) -> float:
        """Measured over estimated time, of this configuration or of its network unfrozen."""
        for key in (cost_key(config), cost_key(_freezing(config, Nothing()))):
            if measured := self.measured.get(key):
                return measured.step_seconds / self.step(work_at(key, self.workers).step_flops)
        return 1.0

    def epoch_seconds(self, config: TrialConfig, train: int, validation: int) -> float:
        """Seconds to train and to validate on so many slices, and to save."""
        measured, last = self._known(config), self._last(config)
        image = measured.image_seconds if measured else self.image(last.image_flops)
        keep = measured.keep_seconds if measured else self.keep(last.parameters)
        steps = steps_per_epoch(train, config.batch_size)
        seconds = steps * self.step_seconds(config) + validation / self.workers * image
        # A checkpoint follows so few epochs that it costs a fixed share, but for long epochs.
        least = max(COST_SHARE, keep / LONGEST_SECONDS)
        return seconds + min(keep, least * seconds)

    def start_seconds(self, config: TrialConfig) -> float:
        """Seconds before the first epoch, the trial's own range test included."""
        measured = self._known(config)
        start = measured.start_seconds if measured else self.start(self._last(config).parameters)
        return start + STEPS * self.step_seconds(config) * (config.lr == "auto")

    def peak_bytes(self, config: TrialConfig) -> float:
        """Peak memory of one worker's process, in the epoch that trains the most blocks."""
        measured = self._known(config)
        return float(measured.peak_bytes) if measured else self.peak(self._last(config).memory)

    def checkpoint_bytes(self, config: TrialConfig) -> tuple[int, int]:
        """Bytes of the best network and of a state to resume from: their tensors, without names."""
        last = self._last(config)
        moments = 1 if isinstance(config.optimizer, Sgd) else 2
        return FLOAT * last.parameters, FLOAT * (last.parameters + moments * last.trained)

    def _known(self, config: TrialConfig) -> Measured | None:
        return self.measured.get(cost_key(steady(config)))

    def _last(self, config: TrialConfig) -> Work:
        return work_at(config, self.workers, config.epochs - 1, config.epochs)


def steady(config: TrialConfig) -> TrialConfig:
    """The config as in those epochs of gradual unfreezing that train the whole network."""
    model = config.model
    gradual = isinstance(model, Encoder) and isinstance(model.freeze, Gradual)
    return _freezing(config, Nothing()) if gradual else config


def _freezing(config: TrialConfig, freeze: Freeze) -> TrialConfig:
    if isinstance(config.model, Encoder):
        return replace(config, model=replace(config.model, freeze=freeze))
    return config
