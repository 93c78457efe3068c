"""Upload to W&B what it lacks of a run: `brainseg wandb sync`.

Everything is sent from the records, whether offline runs exist or not, and W&B is asked first what
it has: interrupted and started again, it continues; started twice, it sends nothing twice.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from brainseg.records.run import Run
from brainseg.tracking.account import server
from brainseg.tracking.marks import Mark, lacking, write_mark
from brainseg.tracking.sender_process import SenderProcess, SendError
from brainseg.tracking.sending import Sending

SENDING = Sending(upload_seconds=600.0)  # a long run over a slow line


@dataclass(frozen=True)
class Upload:
    """What is to be uploaded, and to where."""

    run: Run
    server: str
    trials: tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> "Upload":
        """What W&B may lack, by the marks that earlier uploads left."""
        address = server()
        return cls(run, address, tuple(record.trial for record in lacking(run, address)))

    def carry_out(self) -> Iterator[tuple[str, Mark | SendError]]:
        """Upload one trial after the other; yields what W&B then holds of each, or what failed.

        After two failures in a row, or a refusal of the key, it ends.
        """
        sender, failed = SenderProcess(self.run.path, SENDING, online=True), False
        try:
            for trial in self.trials:
                try:
                    yield trial, self._upload(trial, sender)
                    failed = False
                except SendError as error:
                    yield trial, error
                    if failed or error.refused:
                        return
                    failed = True
                    sender.end()
                    sender = SenderProcess(self.run.path, SENDING, online=True)
        finally:
            sender.end()

    def _upload(self, trial: str, sender: SenderProcess) -> Mark:
        marks = sender.ask({"do": "send", "trial": trial})
        marks |= sender.ask({"do": "close"})  # if the trial has not ended
        with suppress(OSError):  # read-only: the next time W&B is asked again
            write_mark(self.run.trial(trial), marks[trial])
        _note_uploaded(self.run.path, marks[trial].id)
        return marks[trial]


def _note_uploaded(run: Path, id: str) -> None:
    """Leave W&B's own mark beside offline runs, so that `wandb sync` does not take them again."""
    for file in run.glob(f"wandb/*run-*-{id}/*.wandb"):
        with suppress(OSError):
            file.with_name(f"{file.name}.synced").touch()
