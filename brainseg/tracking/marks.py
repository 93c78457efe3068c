"""What W&B is known to hold of a trial: trials/*/wandb.json.

A mark is written after W&B has the rows, and only saves asking again: what counts is what W&B
itself answers when a run is opened. A mark that is damaged counts for nothing; so do those of
earlier versions, which were written too early and have no ``server``.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from brainseg.records.fields import Fields
from brainseg.records.files import Unreadable, read_json, write_json
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import ENDED

OFFLINE = "offline"  # in place of a server: offline runs in the run's folder have it


@dataclass(frozen=True)
class Mark:
    """What was confirmed."""

    id: str  # of the W&B run
    epoch: int  # the last one that W&B has
    state: str  # how the trial ended, if it has that as well; else empty
    server: str  # that has it, or OFFLINE
    url: str  # of the W&B run
    gaps: int = 0  # epochs before the last one that W&B lacks; it takes none of them any more


def read_mark(folder: TrialDir) -> Mark | None:
    names = [field.name for field in fields(Mark)]
    try:
        known = read_json(_path(folder), kind=dict, fields=Fields(tuple(names)))
    except (Unreadable, OSError):
        return None
    return Mark(**{name: known[name] for name in names})


def write_mark(folder: TrialDir, mark: Mark) -> None:
    write_json(_path(folder), asdict(mark))


def lacking(run: Run, server: str) -> list[TrialRecord]:
    """Trials of which ``server`` may lack something, in the order in which they started."""
    begun = [
        record for record in run.trials() if record.state in ENDED or run.trial(record.trial).rows()
    ]
    return [record for record in begun if whole_mark(run, record, server) is None]


def whole_mark(run: Run, record: TrialRecord, server: str) -> Mark | None:
    """The trial's mark, if by it ``server`` has all that is recorded."""
    folder = run.trial(record.trial)
    mark, rows = read_mark(folder), folder.rows()
    if mark is None or mark.server != server or (rows and rows[-1].epoch > mark.epoch):
        return None
    return mark if record.state not in ENDED or mark.state == record.state else None


def _path(folder: TrialDir) -> Path:
    return folder.path / "wandb.json"
