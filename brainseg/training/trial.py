"""One trial from its first epoch to its last, or from wherever it was cut off.

Knows nothing of Ray or of who calls it. Where several processes train one network together, each
learns its rank from torch.distributed.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from functools import cached_property
from math import isfinite, nan
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from brainseg.records.files import write_text
from brainseg.records.heartbeat import Heartbeat
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.storage import StorageFault
from brainseg.records.timing import PhaseTimer
from brainseg.training.compute.choice import machine_for
from brainseg.training.compute.compiled import compile_fault, compile_seconds, require_compiler
from brainseg.training.distributed import Ranks, share_batch_statistics
from brainseg.training.guards import memory
from brainseg.training.guards.finite import NotFinite, require_finite
from brainseg.training.keeping.keeper import TrialKeeper
from brainseg.training.learner import Learner
from brainseg.training.loop import train_steps
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
from brainseg.training.schedules import ScheduleFunction, build_schedule, within
from brainseg.training.task import Diverged, Task, TrialFailed
from brainseg.training.trial_data import TrialData
from brainseg.training.validation import Validation, validate

Report = Callable[[EpochRow], None]


def run_trial(task: Task, report: Report, device: torch.device) -> None:
    """Train and validate; a failure that a retry cannot fix is recorded, not raised.

    Where memory is short, the trial resumes with smaller parts of its batches, see
    ``guards.memory``. Of several workers each raises then, and whoever started them starts them
    again: those that wait for one that has stopped would wait for ever.
    """
    ranks, images = Ranks.current(), task.config.batch_size
    while not task.folder.failure.exists():  # it exists where another worker ran out of memory
        parts = memory.parts_of(task.folder)
        shortage = _train(task, report, device)
        if not shortage:
            return
        memory.free()
        reason = memory.halve(task.folder, parts, images=images, world=ranks.world, why=shortage)
        if reason:
            write_text(task.folder.failure, reason)
        if ranks.world > 1:
            raise memory.OutOfMemory(reason or f"out of {shortage}; starts again in smaller parts")


def _train(task: Task, report: Report, device: torch.device) -> str:
    """Train, and record a failure if there is one; return what of memory was short, if any was."""
    try:
        train(task, report, device)
    except StorageFault:
        raise  # the trial has not failed, the machine has
    except (TrialFailed, ValueError) as error:
        if Ranks.current().rank == 0:
            write_text(task.folder.failure, str(error))
    except (RuntimeError, MemoryError) as error:
        if memory.is_shortage(error):
            return memory.figures(error)
        if not (fault := compile_fault(error)):
            raise
        if Ranks.current().rank == 0:
            write_text(task.folder.failure, fault)
    return ""


def train(task: Task, report: Report, device: torch.device) -> None:
    """Train and validate epoch after epoch to the config's last, or until it must pause or stop.

    After each epoch rank 0 writes it, see ``keeping.save_points``; then each calls ``report``;
    that after which it pauses or ends is on the disk by then. Killed and called again, it resumes
    from the last checkpoint; after its end, it does nothing. For a break see ``keeping.breakdown``.
    """
    trial = Trial(task, device)
    trial.restore()
    trial.keeper.note_start(trial.epoch)
    try:
        while trial.epoch < trial.last_epoch() and not trial.is_stopped():
            report(trial.run_epoch())
        trial.keeper.settle(trial.epoch)
    except TrialFailed:
        trial.keeper.saves.save_held()
        raise
    finally:
        trial.keeper.saves.close()
        trial.keeper.note_costs(trial.epoch)


class Trial:
    """A running trial: its data, its network, how many epochs are done, what it leaves on disk."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.timer = PhaseTimer(compile_seconds)
        config = task.config
        self.config, self.folder, self.ranks = config, task.folder, Ranks.current()
        self.machine = machine_for(task, device, self.ranks)  # before the seed: it draws numbers
        torch.manual_seed(config.seed)
        heartbeat = Heartbeat(self.folder.heartbeat)
        self.data = TrialData(
            Run(task.run),
            config,
            self.machine,
            task.threads,
            heartbeat,
            parts=memory.parts_of(self.folder),
            log=lambda text: self.folder.note(0, text),
        )
        self.loss = build_loss(config.loss)
        if config.compile:
            require_compiler(device)
        self.learner = Learner(config, self.machine, self.ranks)
        self.keeper = TrialKeeper(
            task, self.data, self.learner, self.machine, self.ranks, self.timer
        )
        self.epoch = 0  # epochs done
        self._resumes = self.keeper.find()
        if not self._resumes:
            self.learner.load_start()

    def restore(self) -> None:
        """Resume from the last checkpoint, if there is one; only this makes the folder its own."""
        self.keeper.put_back()
        _ = self.schedule  # a range test needs the network as it starts
        self.epoch = self.keeper.restore()
        self.require_finite()

    def last_epoch(self) -> int:
        """The last epoch to train now: the config's, or the one to pause after."""
        pause = self.folder.pause_epoch or self.config.epochs
        return self.ranks.broadcast(min(self.config.epochs, pause))

    def is_stopped(self) -> bool:
        """Whether the search has asked the trial to stop."""
        return self.ranks.broadcast(self.folder.stop.exists())

    def run_epoch(self) -> EpochRow:
        """Train, validate, save; return the epoch's row."""
        train_loss, breakdown = self._train_or_break()
        if breakdown:
            self.keeper.go_back(self.epoch, breakdown)
            self.restore()
            train_loss = self._train_epoch()
        validation = self.validate() if len(self.data.validation_rows) else None
        self.timer.charge("validate")
        self.epoch += 1
        last_setting = self.schedule(self.epoch * self.data.steps - 1)
        row = self.keeper.save_epoch(self.epoch, train_loss, validation, last_setting)
        self.keeper.note_costs(self.epoch)
        return row

    def require_finite(self) -> None:
        """Refuse weights, statistics or moments that are NaN or infinite, see ``guards.finite``."""
        require_finite(self.learner.network, self.learner.optimizer, self.ranks)

    def validate(self) -> Validation:
        """Score every validation slice exactly once, over all ranks."""
        network = self.learner.network
        return validate(network, self.data, self.loss, self.machine, self.ranks)

    def range_test(
        self,
        *,
        steps: int = STEPS,
        lowest: float = 1e-7,
        highest: float = 10.0,
        on_step: OnStep = ignore_step,
    ) -> RangeCurve:
        """The loss under a growing learning rate; it changes network and optimizer."""
        unseen = self.config.epochs  # no epoch of the training draws the same random numbers

        def losses(schedule: ScheduleFunction) -> Iterator[float]:
            for k in range(steps // self.data.steps + 1):  # one loss more, that after the last step
                for value in self._train_steps(unseen + k, schedule, k * self.data.steps):
                    if isfinite(loss := value.item()):  # otherwise the next step raises NotFinite
                        yield loss

        return range_test(
            losses,
            momentum=momentum_of(self.config.optimizer),
            steps=steps,
            lowest=lowest,
            highest=highest,
            on_step=on_step,
        )

    @cached_property
    def schedule(self) -> ScheduleFunction:
        """The setting of every step; with lr=auto, between the bounds of a range test."""
        config, optimizer = self.config.schedule, self.config.optimizer
        peak = optimizer.lr
        if self.config.lr == "auto":
            bounds = self._bounds()
            peak, config = bounds.high, within(config, floor=bounds.low / bounds.high)
        return build_schedule(
            config,
            peak=peak,
            momentum=momentum_of(optimizer),
            steps_per_epoch=self.data.steps,
            epochs=self.config.epochs,
        )

    def _bounds(self) -> Bounds:
        """The bounds of its own range test, which runs once and leaves the network as it was."""
        path = self.folder.lr_range
        bounds = self.ranks.broadcast(read_bounds(path) if path.exists() else None)
        if bounds is None:
            if self._resumes:  # bounds that an earlier version's checkpoint does not carry
                self.learner.load_start()
            before = deepcopy(self.learner.network.state_dict())
            curve = self.range_test()
            bounds = self.ranks.broadcast(suggest(curve))
            if self.ranks.rank == 0:
                write_curve(path, curve, bounds)
                self.keeper.files.carry(path)
            self.learner.reset(before)
        return bounds

    def _train_or_break(self) -> tuple[float, str]:
        """The mean loss of the next epoch's steps; how it broke down, if there is a way back."""
        try:
            loss = self._train_epoch()
        except Diverged as error:
            if not self.keeper.way_back.leads(self.epoch):
                raise
            return nan, str(error)
        return loss, self.keeper.way_back.breakdown(self.epoch, loss)

    def _train_epoch(self) -> float:
        """Train the next epoch, with what it freezes; return the mean loss of its steps."""
        self.keeper.charge_rest()
        if self.learner.frozen_in(self.epoch) != self.learner.frozen:
            self.keeper.proof.audit(self.epoch)
            self.learner.freeze_for(self.epoch)
        loss = self._train()
        share_batch_statistics(self.learner.network, self.ranks)
        self.require_finite()
        return loss

    def _train(self) -> float:
        """The mean loss of one epoch's steps."""
        first_step, stream = self.epoch * self.data.steps, self.keeper.way_back.stream(self.epoch)
        try:
            losses = list(self._train_steps(stream, self.schedule, first_step))
            self.machine.wait()
            return fmean(torch.stack(losses).tolist())
        except NotFinite as error:
            slices = ", ".join(self.data.name(row) for row in error.rows)
            raise Diverged(f"{error}, on the batch of {slices}") from error
        finally:
            self.timer.charge("train")

    def _train_steps(
        self, stream: int, schedule: ScheduleFunction, first_step: int
    ) -> Iterator[Tensor]:
        """The loss of each step; random numbers follow from seed, ``WayBack.stream`` and rank."""
        entropy = np.random.SeedSequence([self.config.seed, stream, self.ranks.rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        with closing(self.data.training_batches(stream, self.ranks)) as batches:
            yield from train_steps(
                self.learner.wrapped,
                batches,
                self.loss,
                self.learner.optimizer,
                schedule,
                self.machine,
                scaling_NC3=self.data.scaling_NC3,
                shown_NC=self.data.shown_channels(stream),
                first_step=first_step,
                clip_norm=self.config.clip_norm,
                images_at_once=self.data.images_at_once(self.ranks),
            )
