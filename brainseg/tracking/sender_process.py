"""A handle on the process in which W&B runs: bounded in time, and silent.

W&B is kept out of the sweep's own process because it can hang, print, crash, and hold up the
process's exit; a process of its own can be killed.
"""

import json
import os
import select
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainseg.tracking.marks import Mark
from brainseg.tracking.sending import Sending

# Where W&B's processes find one another, and a mode that would overrule ours.
NOT_INHERITED = ("WANDB_SERVICE", "WANDB_MODE")
REFUSALS = ("error 401", "error 403", "API key", "api_key")
WHAT_IT_DOES = {  # the first whose words stand in what W&B says
    ("No API key",): "finds no key",
    REFUSALS: "refuses the key",
    ("connection refused", "no such host", "unreachable", "deadline exceeded"): "is not reached",
    ("",): "does not take what it is sent",
}


class SendError(Exception):
    """W&B does not have what it was sent.

    Attributes:
        refused: whether it is for want of a key, or of the right one.
    """

    def __init__(self, cause: str) -> None:
        self.refused = any(words in cause for words in REFUSALS)
        does = next(does for words, does in WHAT_IT_DOES.items() if any(w in cause for w in words))
        core = cause.rpartition("while retrying: ")[2]  # what W&B tried, and how it failed
        super().__init__(f"W&B {does} ({' '.join(core.split())})")


class SenderProcess:
    """The process; started at once."""

    def __init__(self, run: Path, sending: Sending, *, online: bool) -> None:
        self._patience = sending.patience
        task = {"run": str(run.resolve()), "online": online, "sending": asdict(sending)}
        try:
            self._process = self._start(json.dumps(task))
        except OSError as error:
            raise SendError(f"its process cannot be started ({error.strerror})") from None

    def _start(self, task: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "brainseg.tracking.sender", task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in os.environ if name not in NOT_INHERITED},
            start_new_session=True,  # Ctrl-C is for the sweep, which ends this one in good order
        )

    def ask(self, order: dict[str, Any]) -> dict[str, Mark]:
        """Have an order carried out; see brainseg/tracking/sender.py.

        Raises:
            SendError: it was not, or not in time. The process is of no use afterwards.
        """
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None and answers is not None
        try:
            orders.write(json.dumps(order).encode() + b"\n")
            waiting = select.poll()  # select itself takes the first 1024 files of a process only
            waiting.register(answers, select.POLLIN)
            if not waiting.poll(1000 * self._patience):
                raise SendError(f"it did not answer in {self._patience:.0f} s")
            answer = json.loads(answers.readline() or b'{"error": "its process died"}')
        except OSError as error:
            raise SendError(f"its process died ({error.strerror})") from None
        if "error" in answer:
            raise SendError(answer["error"])
        return {trial: Mark(**mark) for trial, mark in answer["marks"].items()}

    def kill(self) -> None:
        """End the process now, from any thread; an order that is being answered fails."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and release its pipes."""
        self._process.kill()
        with self._process:
            pass
