"""A trial's small files, which each checkpoint carries as texts: none is lost without the other.

So the curve, the table of patients and the proof of what was frozen are those of the checkpoint
that a trial resumes from, whatever became of the files beside it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build, flatten
from brainseg.records.checkpoint_index import content, newest_epoch
from brainseg.records.files import write_text
from brainseg.records.trial_folder import TrialDir
from brainseg.training.keeping import checkpoint

MAY_CHANGE = {"epochs", "compile"}  # of a configuration, while a trial is under way


class CarriedFiles:
    """What the small files hold, by their names, as of the last epoch that was saved.

    Attributes:
        texts: what a checkpoint carries.
    """

    def __init__(self, folder: TrialDir) -> None:
        self.folder = folder
        self.texts: dict[str, str] = {}

    def write(self, path: Path, text: str) -> None:
        """Write a file of the trial's folder, and carry it from now on."""
        self.texts[path.name] = text
        write_text(path, text)

    def carry(self, path: Path) -> None:
        """Carry a file of the trial's folder that is there already."""
        if (text := _text(path)) is not None:
            self.texts[path.name] = text

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add an epoch to the curve; the file is written whole, so that it has no gap."""
        rows = self.texts.get(self.folder.metrics.name, "")
        self.write(self.folder.metrics, rows + json.dumps(row, allow_nan=False) + "\n")

    def json(self, path: Path, default: Any) -> Any:
        """What a file of JSON holds."""
        return json.loads(self.texts[path.name]) if path.name in self.texts else default

    def objection(self, state: Mapping[str, Any]) -> str:
        """Why a checkpoint of an earlier version, which carries no files, cannot be used."""
        known = len(_rows(self.folder.metrics, state["epoch"]))
        if "files" in state or known == state["epoch"]:
            return ""
        held = f"epochs 1 to {known} only" if known else "no first epoch"
        return f"cannot be used, as metrics.jsonl holds {held}"

    def resume(self, state: Mapping[str, Any]) -> list[str]:
        """Write the files as they were at a checkpoint; return what was lost, in words."""
        self.texts = dict(state["files"] if "files" in state else self._of_earlier_version(state))
        return self.put_back()

    def rows_after(self, epoch: int) -> list[dict[str, Any]]:
        """The rows that the file holds of later epochs: the process died before it saved again."""
        rows = _by_epoch(self.folder.metrics)
        return [rows[number] for number in sorted(rows) if number > epoch]

    def start(self) -> None:
        """Write the files of a trial before its first epoch."""
        self.texts = {}
        self.write(self.folder.metrics, "")
        self.carry(self.folder.lr_range)

    def put_back(self) -> list[str]:
        """Write again what is lost, or not as it was; return what was lost, in words.

        Rows that a process left beyond its last checkpoint are no loss: their epochs are repeated.
        """
        lost = []
        for name, text in self.texts.items():
            path = self.folder.path / name
            held = _text(path)
            is_curve = path == self.folder.metrics
            if held is None or (is_curve and not held.startswith(text)):
                fault = "missing" if held is None else "not whole"
                lost.append(f"{name} was {fault} and is written again")
            if held != text:
                write_text(path, text)
        return lost

    def _of_earlier_version(self, state: Mapping[str, Any]) -> dict[str, str]:
        folder = self.folder
        rows = _rows(folder.metrics, state["epoch"])
        texts = {folder.metrics.name: "".join(json.dumps(row) + "\n" for row in rows)}
        paths = (folder.patients, folder.frozen, folder.audit_path, folder.lr_range)
        return texts | {path.name: text for path in paths if (text := _text(path)) is not None}


def identity(trial: str, config: TrialConfig) -> str:
    """Of which trial a checkpoint is, as it is written into it."""
    return json.dumps({"trial": trial, **flatten(config)})


def foreign(state: Mapping[str, Any], trial: str, config: TrialConfig) -> str:
    """Why a checkpoint is not of this trial; earlier versions did not write of which it is."""
    ours, theirs = json.loads(identity(trial, config)), json.loads(state.get("trial", "{}"))
    differs = any(ours.get(key) != value for key, value in theirs.items() if key not in MAY_CHANGE)
    return "is of another trial" if differs else ""


def again_in_words(epochs: Sequence[int]) -> str:
    """That epochs are trained again which no checkpoint holds."""
    if len(epochs) == 1:
        return f"epoch {epochs[0]} was lost and is trained again"
    return f"epochs {epochs[0]} to {epochs[-1]} were lost and are trained again"


def lost_beside(folder: TrialDir, network: Path, state: Mapping[str, Any]) -> list[str]:
    """What a checkpoint does not carry, or not this one, and is lost; in words.

    Args:
        network: the file of the network that counts, which is written again where ``state`` has it.
    """
    epoch, best = state["epoch"], state["best_epoch"]
    scored_last = network == folder.last_network
    ended = scored_last and epoch == folder.params()["epochs"]
    kept, lost = epoch if ended else best, []
    if (ended or not scored_last) and not content(network, ""):
        lost.append(f"{network.name}, the network of epoch {kept}, was lost")
        if kept == epoch:
            checkpoint.save_network(network, state["network"], epoch)
            lost[-1] = f"{network.name} was lost and is written again"
    for path, of in ((folder.patients, best), (folder.panels, kept)):
        if best and not path.exists():  # without a validation, as of a refit, there is neither
            lost.append(f"{path.name} of epoch {of} was lost")
    return lost


def restore_rows(folder: TrialDir) -> str:
    """Write again what a trial's files have lost and its checkpoint holds; what that was, in words.

    For the search, which reads the rows of paused trials before they resume.
    """
    last = newest_epoch(folder.path)
    if len(_rows(folder.metrics, last)) == last:
        return ""
    config = build(TrialConfig(), folder.params())
    try:
        newest = checkpoint.newest(
            folder.path, foreign=lambda state: foreign(state, folder.trial, config)
        )
    except ValueError:  # the trial itself will say that none is whole
        return ""
    problems = list(newest.problems) if newest.file else []
    if "files" in newest.state:
        problems += CarriedFiles(folder).resume(newest.state)
    if not problems:
        return ""
    text = f"{'; '.join(problems)}; resumes after epoch {newest.state['epoch']}"
    folder.note(newest.state["epoch"], text)
    return text


def _rows(path: Path, last: int) -> list[dict[str, Any]]:
    """The rows of the epochs from 1 to the first that is missing, at most to ``last``."""
    by_epoch, rows = _by_epoch(path), list[dict[str, Any]]()
    while len(rows) < last and len(rows) + 1 in by_epoch:
        rows.append(by_epoch[len(rows) + 1])
    return rows


def _by_epoch(path: Path) -> dict[int, dict[str, Any]]:
    """Of an epoch that is there twice, the later row counts; what is no row does not count."""
    by_epoch: dict[int, dict[str, Any]] = {}
    for line in (_text(path) or "").splitlines():
        try:
            row = json.loads(line)
            by_epoch[int(row["epoch"])] = row
        except (ValueError, TypeError, KeyError):
            continue
    return by_epoch


def _text(path: Path) -> str | None:
    """What a file holds; None if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        if not path.parent.is_dir():  # the storage is gone, not the file
            raise
        return None
