"""What a trial leaves in its folder: rows, tables, panels, checkpoints, proofs and costs.

Every rank makes the same calls, since some values are gathered from all; only rank 0 writes.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from brainseg.records.files import append_line
from brainseg.records.rows import EpochRow
from brainseg.records.timing import PhaseTimer
from brainseg.training.compute.fingerprint import kind_of_machine, versions
from brainseg.training.compute.float32 import float32_products
from brainseg.training.compute.machine import Machine
from brainseg.training.distributed import Ranks
from brainseg.training.keeping import checkpoint
from brainseg.training.keeping.breakdown import WayBack
from brainseg.training.keeping.carried import (
    CarriedFiles,
    again_in_words,
    foreign,
    identity,
    lost_beside,
)
from brainseg.training.keeping.checkpoint import Newest
from brainseg.training.keeping.local_first import adopt, near_folder
from brainseg.training.keeping.panels import write_panels
from brainseg.training.keeping.proof import FrozenProof
from brainseg.training.keeping.save_points import SavePoints
from brainseg.training.learner import Learner
from brainseg.training.schedules import Setting
from brainseg.training.task import Task, TrialFailed
from brainseg.training.trial_data import TrialData
from brainseg.training.validation import Validation


class TrialKeeper:
    """Writes what must outlive the process, and reads it back when the trial is resumed.

    Attributes:
        best_dice: the highest validation Dice so far; -1 before the first epoch.
        best_epoch: the epoch of it, from 1.
    """

    def __init__(
        self,
        task: Task,
        data: TrialData,
        learner: Learner,
        machine: Machine,
        ranks: Ranks,
        timer: PhaseTimer,
    ) -> None:
        self.folder, self.config, self.scored_last = task.folder, task.config, task.scored_last
        self.data, self.learner = data, learner
        self.machine, self.ranks, self.timer = machine, ranks, timer
        self.parameters = sum(p.numel() for p in learner.network.parameters())
        self.best_dice, self.best_epoch = -1.0, 0
        self.files = CarriedFiles(task.folder)
        self.saves = SavePoints(
            task.folder.path,
            self._network,
            machine.device,
            task.checkpoint_every,
            task.first_to or near_folder(task.run, task.trial),
        )
        self.way_back = WayBack(self.files, ranks, self.saves.flush, is_open=task.scored_last)
        self.proof = FrozenProof(self.files, learner, ranks)
        self.newest = Newest()
        self._has_row = False  # whether this process has finished an epoch
        self._lost: list[tuple[int, int]] = []  # see ``TrialDir.lost_epochs``
        self._setup_seconds = 0.0  # before its first step, of those that are noted already

    def find(self) -> bool:
        """Choose the checkpoint to resume from, and write nothing; False for none.

        Rank 0 chooses, since others may see a shared folder a moment later.

        Raises:
            ValueError: the trial has checkpoints, and none of them is whole.
        """
        file = self.ranks.decided(self._choose)
        if file and not self.newest.state:
            self.newest = Newest(file, checkpoint.load(self.folder.path / file))
        return bool(file)

    def _choose(self) -> str:
        if (near := self.saves.near) and near.is_dir():
            adopt(near, self.folder.path, self._network, self._foreign)
        self.newest = checkpoint.newest(
            self.folder.path, foreign=self._foreign, unsupported=self.files.objection
        )
        return self.newest.file

    def put_back(self) -> None:
        """Make the trial's files those of the chosen checkpoint; without one, it has none."""
        self.ranks.decided(self._put_back)

    def _put_back(self) -> None:
        state, problems = self.newest.state, list(self.newest.problems)
        epoch = state.get("epoch", 0)
        lost = self._lost_after(epoch)
        if state:
            problems += [*self.files.resume(state), *lost_beside(self.folder, self._network, state)]
            why = self.way_back.given_up(state)
            if why and not any(why in text for text in (*problems, *self.folder.notes())):
                problems.append(f"what followed epoch {epoch} {why}")
            problems += [again_in_words(lost)] if lost else []
            after = f"resumes after epoch {epoch}"
        else:
            begun = self.folder.metrics.exists() and self.folder.metrics.stat().st_size
            problems += ["no checkpoint is left"] * bool(begun or problems)
            self.files.start()
            after = "starts again from its first epoch"
        self.note(epoch, f"{'; '.join(problems)}; {after}" if problems else "", lost)

    def _lost_after(self, epoch: int) -> list[int]:
        """The epochs that are trained again since no checkpoint holds them; none if given up."""
        rows = [] if self._has_row else self.files.rows_after(epoch)
        if self.way_back.given_up(self.newest.state):  # then those of the second attempt alone
            rows = [row for row in rows if row.get("attempt")]
        return [row["epoch"] for row in rows]

    def _foreign(self, state: Mapping[str, Any]) -> str:
        """Why a checkpoint is of another trial or network, or was given up; "" if it is not."""
        return (
            foreign(state, self.folder.trial, self.config)
            or self.learner.objection(state)
            or self.way_back.objection(state)
        )

    @property
    def _network(self) -> Path:
        """Where the network that counts is kept."""
        return self.folder.last_network if self.scored_last else self.folder.best_network

    def note(self, epoch: int, text: str, lost: Sequence[int] = ()) -> None:
        """Note what a person should know of, once; "" is nothing. What was lost counts each time.

        Args:
            lost: epochs that are trained again.
        """
        if self.ranks.rank == 0 and lost:
            self.folder.note(epoch, text, lost=[lost[0], lost[-1]])
        elif self.ranks.rank == 0 and text and text not in self.folder.notes():
            self.folder.note(epoch, text)

    def restore(self) -> int:
        """Load the chosen checkpoint, if there is one; return the epochs that it has finished."""
        state, self.newest = self.newest.state, Newest()
        epoch: int = state.get("epoch", 0)
        self.saves.forget()
        self.way_back.load()
        self._lost = self.ranks.broadcast(self.folder.lost_epochs())
        if state:
            self.best_dice, self.best_epoch = state["best_dice"], state["best_epoch"]
            self.learner.load_state(state, epoch)
        if self.ranks.rank == 0 and not self.proof.is_there():
            if state:
                self.note(epoch, f"frozen.json was lost: its proof starts after epoch {epoch}")
            self.proof.start()
        return epoch

    def go_back(self, epoch: int, why: str) -> None:
        """Choose a checkpoint of before ``epoch`` to train on from, see ``WayBack``."""
        self._setup_seconds += self.timer.spent["setup"]
        self.note_costs(epoch)
        self.way_back.take(epoch, why)
        if not self.find():
            raise TrialFailed(f"{why}; no checkpoint is left to go back to")

    def note_start(self, epoch: int) -> None:
        """Append how numbers are computed, by which code, and each rank's process and machine."""
        device = self.machine.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        place = {"host": socket.gethostname(), "process": os.getpid()}
        place |= {"device": str(device), "name": name}
        places = self.ranks.all_gather(place)
        kinds = self.ranks.all_gather(kind_of_machine(device))
        if self.ranks.rank == 0:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            compute = {**self.machine.compute.to_json(), "float32": float32_products()}
            start = {"at": at, "epoch": epoch, "compute": compute, "workers": places}
            machines = [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
            append_line(self.folder.starts, {**start, "machines": machines, "versions": versions()})

    def charge_rest(self) -> None:
        """Charge the time since the last phase: to setup before the first epoch, then to save."""
        self.timer.charge("save" if self._has_row else "setup")

    def save_epoch(
        self, epoch: int, train_loss: float, validation: Validation | None, setting: Setting
    ) -> EpochRow:
        """Write an epoch's row and tables, and all else if it is a save point; return the row.

        Without a validation, as of a refit, there is neither a score nor a table.

        What it pauses or ends after is on the disk when this returns. The checkpoint comes last: a
        crash before it repeats the epochs since the one before, so that nothing is lost.
        """
        row = self._row(epoch, train_loss, validation, setting)
        if self.ranks.rank:
            return row
        is_due = self.saves.is_due()
        self.note(epoch, "; ".join(self.files.put_back()))
        self.files.append_row(row.to_json())
        best, last = row.best_epoch == epoch, epoch == self.config.epochs
        for path, is_wanted in ((self.folder.patients, best), (self.folder.last, last)):
            if is_wanted and validation:
                self.files.write(path, validation.patient_table().to_csv(index=False))
        if validation and (best or (last and self.scored_last)):
            self._hold_panels(epoch, validation)
        counts, pauses = last if self.scored_last else best, epoch == self.folder.pause_epoch
        if is_due or last or pauses:
            self._save(epoch, counts=counts)
        elif counts:
            self.saves.hold(self.learner.network.state_dict(), epoch)
        if last or pauses:
            self.saves.flush()
        return row

    def _save(self, epoch: int, *, counts: bool) -> None:
        """Save all that is needed to resume after ``epoch``, and what is held.

        Args:
            counts: whether the network is the one that counts now.
        """
        best = {"best_dice": self.best_dice, "best_epoch": self.best_epoch}
        records = {"files": self.files.texts, "trial": identity(self.folder.trial, self.config)}
        state = {**self.learner.state(), "epoch": epoch, **best, **records}
        self.saves.save(epoch, state, counts=counts)

    def settle(self, epoch: int) -> None:
        """The trial stops after ``epoch``: bring all of it on the disk, prove what was frozen."""
        if self._has_row and self.ranks.rank == 0:
            if self.saves.epoch != epoch:
                self._save(epoch, counts=False)
            self.saves.flush()
        self.proof.audit(epoch)

    def note_costs(self, epoch: int) -> None:
        """Append the time since the last note. A killed process leaves none of its last epoch."""
        self.charge_rest()
        if self.ranks.rank == 0:
            place = {"device": self.machine.device.type, "threads": self.data.threads}
            cost = {"epoch": epoch, **self.timer.read(), "devices": self.ranks.world, **place}
            append_line(self.folder.costs_path, cost)

    def _row(
        self, epoch: int, train_loss: float, validation: Validation | None, setting: Setting
    ) -> EpochRow:
        scores, spent = validation.scores() if validation else {}, self.timer.spent
        if scores and scores["dice"] > self.best_dice:
            self.best_dice, self.best_epoch = scores["dice"], epoch
        start_seconds = None if self._has_row else self._setup_seconds + spent["setup"]
        self._has_row = True
        at_once = self.data.images_at_once(self.ranks)
        return EpochRow(
            epoch=epoch,
            train_loss=train_loss,
            **scores,
            best_dice=self.best_dice if scores else None,
            best_epoch=self.best_epoch,
            lr=setting.lr,
            momentum=setting.momentum,
            attempt=self.way_back.attempt(epoch),
            repeats=sum(first <= epoch <= last for first, last in self._lost) or None,
            frozen_blocks=self.learner.frozen,
            images_per_second=self.data.images_per_epoch / spent["train"],
            train_seconds=spent["train"],
            score_seconds=spent["validate"],
            seconds=spent["train"] + spent["validate"],
            start_seconds=start_seconds,
            devices=self.ranks.world,
            micro_batch=at_once if self.data.parts > 1 else None,
            parameters=self.parameters,
        )

    def _hold_panels(self, epoch: int, validation: Validation) -> None:
        """Predictions of a fixed few validation slices: the largest tumour of each patient."""
        data, rows = self.data, self.data.shown_rows
        labels = [data.name(row) for row in rows]
        shown = (self.folder.panels, data.pack, rows, validation.shown_BHW, labels, epoch)
        self.saves.hold_panels(partial(write_panels, *shown))
