"""The process in which W&B runs: takes orders a line at a time, answers each with a line.

    {"do": "send", "trial": "0003"}    hand over its new rows; close its W&B run if it has ended
    {"do": "check", "trial": "0003"}   does the server have all of them?
    {"do": "close"}                    close all W&B runs that are open

An answer is {"marks": {trial: mark}}, what is now known to be at W&B, or {"error": sentence}; after
an error, and at the end of its input, the process ends. It keeps nothing that is not asked of W&B
and the records when it starts again, so that killing it at any moment loses and doubles nothing.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from brainseg.records.run import Run
from brainseg.records.trial_state import ENDED
from brainseg.tracking.account import server
from brainseg.tracking.marks import OFFLINE, Mark, whole_mark
from brainseg.tracking.sending import Sending
from brainseg.tracking.wandb_run import WandbRun


@dataclass
class Sender:
    """Carries out orders; holds a W&B run for each trial that is going on."""

    run: Run
    sending: Sending
    online: bool
    _open: dict[str, WandbRun] = field(default_factory=dict, init=False)

    def carry_out(self, order: dict[str, Any]) -> dict[str, Mark]:
        if order["do"] == "close":
            return {trial: self._close(trial) for trial in list(self._open)}
        trial = order["trial"]
        if order["do"] == "send":
            return self._send(trial)
        mark = self._open[trial].check()
        return {trial: mark} if mark else {}

    def _send(self, trial: str) -> dict[str, Mark]:
        record = self.run.record(trial)
        if trial not in self._open:
            if mark := whole_mark(self.run, record, server() if self.online else OFFLINE):
                return {trial: mark}  # its last row and its end are often asked for together
            self._open[trial] = WandbRun(self.run, record, self.sending, self.online)
        self._open[trial].send_rows()
        return {trial: self._close(trial)} if record.state in ENDED else {}

    def _close(self, trial: str) -> Mark:
        return self._open.pop(trial).close(self.run.record(trial))


def serve(sender: Sender, orders: Iterable[str], answers: TextIO) -> None:
    """Answer each order; return after the first that fails."""
    for line in orders:
        try:
            marks = sender.carry_out(json.loads(line))
            answer: dict[str, Any] = {"marks": {name: asdict(mark) for name, mark in marks.items()}}
        except Exception as error:  # W&B raises many kinds, some when its own process has died
            answer = {"error": f"{error}".strip() or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)
        if "error" in answer:
            return


def main() -> None:
    task = json.loads(sys.argv[1])
    run = Run(Path(task["run"]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # W&B prints there as well
    sys.argv[:] = shlex.split(run.settings().get("command", "")) or sys.argv[:1]
    serve(Sender(run, Sending(**task["sending"]), online=task["online"]), sys.stdin, answers)
    os._exit(0)  # W&B's own exit would try to upload what is left, for as long as it takes


if __name__ == "__main__":
    main()
