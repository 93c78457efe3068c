"""W&B as a copy of the local records: one W&B run per trial; it never delays training.

The records are the truth, and the only copy that is needed: while W&B is down nothing else is
written, since what it missed is sent from metrics.jsonl; a second copy, in offline runs, could be
uploaded a second time. With --wandb offline the copy is in offline runs, as `wandb sync` takes
them; `brainseg wandb sync` takes the records in either case.

W&B itself runs in a process of its own, see sender_process.py. A thread of the driver gives it one
order at a time. If an order fails, the process is killed; after a pause, which grows, a new one
asks W&B what it has and continues from there.
"""

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from brainseg.process import Log
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.tracking.account import Mode, server
from brainseg.tracking.marks import OFFLINE, lacking, write_mark
from brainseg.tracking.sender_process import SenderProcess, SendError
from brainseg.tracking.sending import Sending


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """Seconds between attempts, and between questions whether W&B has what it was sent."""

    first: float = 2.0
    longest: float = 300.0
    check: float = 30.0

    def after(self, failures: int) -> float:
        """The pause after so many failures in a row: doubled each time, less up to half.

        Sweeps that lost the same server do not all come back at once.
        """
        whole = min(self.first * 2.0 ** min(failures - 1, 30), self.longest)
        return random.uniform(whole / 2, whole)


@dataclass
class Mirror:
    """Copies trials to W&B in the order in which they are reported to it.

    What W&B lacks of trials that earlier drivers ran is copied first; not of those that ran
    when their driver died, whose last rows may be removed when they resume.
    """

    run: Run
    mode: Mode
    log: Log
    sending: Sending = field(default_factory=Sending)
    pauses: Pauses = Pauses()
    _changed: Condition = field(default_factory=Condition, init=False)  # of the next two
    _wanted: dict[str, None] = field(default_factory=dict, init=False)  # trials, in order
    _closing: bool = field(default=False, init=False)
    _unstored: dict[str, None] = field(default_factory=dict, init=False)  # sent, not confirmed
    _sender: SenderProcess | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)  # in a row
    _retry_at: float = field(default=0.0, init=False)  # on the monotonic clock, as the next
    _check_at: float = field(default=0.0, init=False)
    _thread: Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.mode == "off":
            return
        still = [record for record in self._lacking() if record.state != TrialState.RUNNING]
        self._wanted.update(dict.fromkeys(record.trial for record in still))
        self._thread = Thread(target=self._work, name="wandb-mirror", daemon=True)
        self._thread.start()

    def follow(self, trial: str) -> None:
        """Copy what was recorded of the trial since; close its W&B run if it has ended."""
        if self._thread is not None:
            self._want([trial])

    def close(self, timeout_seconds: float = 60.0) -> None:
        """Try for so long to bring W&B everything, and say what it lacks."""
        if self._thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_seconds)
        while self._thread.is_alive():
            if self._sender is not None:
                self._sender.kill()
            self._thread.join(1.0)
        self._thread = None
        with suppress(OSError, ValueError):  # the records cannot be read, which others say
            self._say_what_is_lacking()

    def _say_what_is_lacking(self) -> None:
        if lacking := self._lacking():
            self.log(
                f"W&B lacks something of {len(lacking)} of {len(self.run.trials())} trials, the "
                f"records do not: `brainseg wandb sync {self.run.path}` uploads it"
            )

    def _lacking(self) -> list[TrialRecord]:
        return lacking(self.run, server() if self.mode == "online" else OFFLINE)

    def _want(self, trials: list[str]) -> None:
        with self._changed:
            self._wanted.update(dict.fromkeys(trials))
            self._changed.notify()

    def _work(self) -> None:
        while order := self._next_order():
            try:
                self._carry_out(order)
            except SendError as error:
                self._fail(order, error)
                if self._closing and self._failures > 1:
                    return
        with suppress(SendError):  # of trials that have not ended; the next driver asks W&B again
            if self._sender is not None:
                self._carry_out({"do": "close"})
        if self._sender is not None:
            self._sender.end()

    def _next_order(self) -> dict[str, Any] | None:
        """The next order once it is due; None once there will be no more."""
        with self._changed:
            while True:
                now, wait = time.monotonic(), None
                if not self._closing and now < self._retry_at:
                    wait = self._retry_at - now
                elif self._wanted:
                    trial = next(iter(self._wanted))
                    del self._wanted[trial]
                    return {"do": "send", "trial": trial}
                elif self._closing:
                    return None
                elif self._unstored:
                    if now >= self._check_at:
                        return {"do": "check", "trial": next(iter(self._unstored))}
                    wait = self._check_at - now
                self._changed.wait(wait)

    def _carry_out(self, order: dict[str, Any]) -> None:
        if self._sender is None:
            self._sender = SenderProcess(self.run.path, self.sending, online=self.mode == "online")
        marks = self._sender.ask(order)
        for trial, mark in marks.items():
            self._unstored.pop(trial, None)
            with suppress(OSError):  # a mark only saves asking W&B again
                write_mark(self.run.trial(trial), mark)
        if order["do"] == "send" and order["trial"] not in marks and self.mode == "online":
            self._unstored.setdefault(order["trial"])
        if order["do"] == "check":
            self._check_at = time.monotonic() + self.pauses.check / max(len(self._unstored), 1)
            if order["trial"] in self._unstored:  # the others come first next time
                del self._unstored[order["trial"]]
                self._unstored[order["trial"]] = None
        if self._failures and marks:  # that W&B takes rows is no proof that it stores them
            self._failures = 0
            self.log("W&B works again; it gets what it missed")

    def _fail(self, order: dict[str, Any], error: SendError) -> None:
        """Start anew after a pause: whatever is not confirmed is sent again."""
        if self._sender is not None:
            self._sender.end()
            self._sender = None
        self._want([*([order["trial"]] if "trial" in order else []), *self._unstored])
        self._unstored.clear()
        self._failures += 1
        self._retry_at = time.monotonic() + self.pauses.after(self._failures)
        if self._failures == 1:
            self.log(f"{error}; training continues, the records have everything, W&B is retried")
