"""A mirror of a small run, with waits of a test's size, and what W&B has of it."""

import json
import subprocess
import sys
from typing import Any

from brainseg.process import Log
from brainseg.records.run import Run
from brainseg.tracking.account import Mode
from brainseg.tracking.mirror import Mirror, Pauses
from brainseg.tracking.sending import Sending

SENDING = Sending(answer_seconds=2.0, upload_seconds=3.0, stall_seconds=6.0)
PAUSES = Pauses(first=0.1, longest=0.5, check=0.2)


def mirror(run: Run, log: Log, mode: Mode = "online") -> Mirror:
    return Mirror(run, mode, log, SENDING, PAUSES)


def offline_records(run: Run, trial: str, kind: str) -> list[Any]:
    """What a trial's offline runs hold of one kind, as W&B's own reader gives it back."""
    records = []
    for file in sorted(run.path.glob(f"wandb/offline-run-*-{trial}/*.wandb")):
        reader = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        read = subprocess.run(reader, capture_output=True, text=True, check=True)
        entries = [json.loads(line) for line in read.stdout.splitlines()]
        records += [entry[kind] for entry in entries if entry["type"] == kind]
    return records


def offline_steps(run: Run, trial: str) -> list[int]:
    """The steps of a trial's history in its offline runs, in the order of their files."""
    return [int(row["step"]["num"]) for row in offline_records(run, trial, "history")]
