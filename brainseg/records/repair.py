"""What a driver that died left behind in a run's folder, put right by the next one.

Only who holds the run's lock may do this; whoever else reads a run leaves it as it is.
"""

import os
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.records.checkpoint_index import has_whole
from brainseg.records.fields import ANY, Fields
from brainseg.records.files import (
    Unreadable,
    parsed,
    readable,
    whole_rows,
    write_json,
    write_text,
)
from brainseg.records.locks import removed_if_abandoned
from brainseg.records.rows import ROW_FIELDS
from brainseg.records.run import DRIVER_FIELDS, RACE_FIELDS, TRIAL_FIELDS, Run
from brainseg.records.timing import COST_FIELDS
from brainseg.records.trial_folder import TrialDir


def repair(run: Run) -> list[str]:
    """Put right what can be, and return a sentence for each kind of thing that was done.

    Raises:
        Unreadable: a line before others is no row, or something else stands where a file should.
    """
    trials = [run.trial(path.name) for path in sorted(run.path.glob("trials/*")) if path.is_dir()]
    said = [*_locks(run), *_lines(run, trials)]
    _remove_torn(run.path)
    for trial in trials:
        said += [*_config(run, trial), *_pause(trial)]
    return said


def _locks(run: Run) -> Iterator[str]:
    """Remove the locks of Optuna's journal: a file or a link that only its holder removes.

    The run's own lock, which we hold, is the kernel's; so whoever left these is dead, unless it is
    somebody who looks at the study with Optuna.
    """
    for path in run.path.glob(f"{run.journal.name}.lock*"):
        if removed_if_abandoned(path):
            yield f"removed {path}, the lock of a process that died"


def _remove_torn(folder: Path) -> None:
    """Remove what processes of this machine left half-written as they died, see ``replacing``."""
    for torn in folder.rglob(".*"):
        pid = torn.suffix[1:]
        if pid.isdecimal() and torn.is_file() and not _lives(int(pid)):
            torn.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def _lines(run: Run, trials: Collection[TrialDir]) -> Iterator[str]:
    """End every append-only file at its last whole line."""
    files = {run.changes: TRIAL_FIELDS, run.driver_events: DRIVER_FIELDS, run.race: RACE_FIELDS}
    for trial in trials:
        yield from _curve(trial)
        files |= {trial.metrics: ROW_FIELDS, trial.costs_path: COST_FIELDS, trial.starts: ANY}
    dropped = {path: end_whole(path, fields) for path, fields in files.items() if path.exists()}
    try:
        dropped[run.journal] = (
            end_whole(run.journal, Fields(("op_code",))) if run.journal.exists() else 0
        )
    except Unreadable as error:
        aside = _set_aside(run.journal)
        yield f"{run.journal} could not be read ({error.fault}) and is now {aside.name}"
    if words := [f"{n} bytes of {p.relative_to(run.path)}" for p, n in dropped.items() if n]:
        yield f"{run.path}: dropped what a crash left of unfinished lines: {', '.join(words)}"


def _curve(trial: TrialDir) -> Iterator[str]:
    """Drop damaged lines of a curve where a checkpoint holds its rows: the trial writes them again.

    A trial without one keeps them, for somebody to restore.
    """
    try:
        trial.rows()
    except Unreadable as error:
        if not has_whole(trial.path):
            return
        lines = trial.metrics.read_bytes().splitlines(keepends=True)
        whole = [line.decode() for line in lines if parsed(line, ROW_FIELDS) is not None]
        write_text(trial.metrics, "".join(whole))
        yield f"{error.path}: {error.fault}; it is dropped, a checkpoint of the trial has the rows"


def end_whole(path: Path, fields: Fields = ANY) -> int:
    """Cut off what follows the last row of a .jsonl file; return how many bytes that was.

    Args:
        fields: of every row.

    Raises:
        Unreadable: a line before another is no row, or no line is one.
    """
    with readable(path):
        content = path.read_bytes()
    _, size, _ = whole_rows(path, BytesIO(content).readlines(), fields)
    with path.open("ab") as file:
        if size and content[size - 1 : size] != b"\n":
            file.write(b"\n")
        else:
            file.truncate(size)
        os.fsync(file.fileno())
    return len(content) - size


def _config(run: Run, trial: TrialDir) -> Iterator[str]:
    """Write a config.json that is damaged again, from the record of the trial's start.

    A trial that has no such record never started; without its config it is proposed anew.
    """
    if not os.path.lexists(trial.config):
        return
    try:
        trial.params()
        return
    except Unreadable as error:
        damaged = error
    started = (row.get("params") for row in run.events() if row["trial"] == trial.trial)
    params = next(filter(None, started), None)
    try:
        build(TrialConfig(), params or {})
    except ValueError:
        raise damaged from None  # of another version of brainseg, perhaps
    _set_aside(trial.config)
    if params:
        write_json(trial.config, params)
        yield f"{damaged.path} could not be read ({damaged.fault}); written again from trials.jsonl"
    else:
        yield f"{damaged.path} could not be read ({damaged.fault}); its trial had not started"


def _pause(trial: TrialDir) -> Iterator[str]:
    """Remove the epoch to pause after if it is none; the search sets it when the trial resumes."""
    try:
        _ = trial.pause_epoch
    except Unreadable as error:
        _set_aside(error.path)
        yield f"{error.path} could not be read ({error.fault}); the search sets it again"


def _set_aside(path: Path) -> Path:
    """Rename a file that cannot be read, so that nothing in it is lost."""
    return path.replace(path.with_name(f"{path.name}.damaged"))
