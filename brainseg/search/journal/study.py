"""Optuna's study of a run, whole: from its journal, else from what the trials' folders hold.

A crash, a full disk or a copy in part may have cost the journal some of its lines. Optuna counts
its trials, so a study without one would give the number, and the folder, of a trial to another.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build
from brainseg.config.sweep import Sweep
from brainseg.process import Log
from brainseg.records.checkpoint_index import on_disk
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.search.journal.storage import open_journal
from brainseg.search.journal.terms import (
    OPTUNA_STATES,
    distributions_of,
    previous_as_optuna_trial,
)
from brainseg.search.rounds import races
from brainseg.search.warm_start import PreviousTrial

# What Optuna raises on lines that are JSON and make no study.
REPLAY = (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError)


def whole_study(
    run: Run, sweep: Sweep, previous: Sequence[PreviousTrial], log: Log
) -> optuna.Study:
    """The study of ``run``; a new one holds the trials of an earlier sweep and the first points.

    A journal that does not fit the trials' folders is set aside, and written again from them.
    """
    study, fault = None, ""
    if run.journal.exists():
        try:
            study = _opened(run.journal, sweep)
            fault = _fault(study, run, sweep)
        except REPLAY as error:
            fault = f"makes no study ({type(error).__name__}: {error})"
    if study is None or fault:
        _write(run, sweep, previous)
        if fault:
            log(f"{run.journal} {fault}: it is written again from the trials' folders")
        study = _opened(run.journal, sweep)
    _note_lost(study, run)
    return study


def trial_name(trial: FrozenTrial) -> str:
    """What a trial of Optuna's is called everywhere else; of a second try, what the first was."""
    return str(trial.user_attrs.get("retries", f"{trial.number:04d}"))


def _opened(journal: Path, sweep: Sweep) -> optuna.Study:
    directions = [
        StudyDirection.MAXIMIZE if name == "dice" else StudyDirection.MINIMIZE
        for name in sweep.judged_by
    ]
    with quiet():
        study = optuna.create_study(
            storage=open_journal(journal),
            study_name=sweep.name,
            directions=directions,
            load_if_exists=True,
        )
        study.set_metric_names(list(sweep.judged_by))
    return study


def _fault(study: optuna.Study, run: Run, sweep: Sweep) -> str:
    """Why the study is not that of the trials' folders; "" if it is."""
    if "queued" not in study.user_attrs:
        return "holds but a part of the sweep's first points"
    trials, searched = study.get_trials(deepcopy=False), sweep.space.distributions()
    for folder in _folders(run):
        number, params = int(folder.trial), folder.params()
        if number >= len(trials):
            return f"lacks trial {folder.trial}"
        if trials[number].params != {p: params[p] for p in searched if p in params}:
            return f"has other values of trial {folder.trial}"
    return ""


def _folders(run: Run) -> list[TrialDir]:
    """Of the trials that were proposed, in order."""
    folders = [
        run.trial(path.parent.name) for path in sorted(run.path.glob("trials/*/config.json"))
    ]
    return [folder for folder in folders if folder.trial.isdecimal()]


def _write(run: Run, sweep: Sweep, previous: Sequence[PreviousTrial]) -> None:
    """Write the journal: an earlier sweep's trials, this one's, then the points not yet tried."""
    draft = run.journal.with_name(f"{run.journal.name}.new")
    draft.unlink(missing_ok=True)  # of a driver that died in here
    study, space = _opened(draft, sweep), sweep.space
    for earlier in previous:
        study.add_trial(previous_as_optuna_trial(earlier, sweep))
    tried = {trial.config for trial in previous if trial.done}
    at_once = [] if races(sweep) else sweep.points()  # see ``Rounds``
    points = [(space.config({**drawn, **pinned}), drawn, pinned) for drawn, pinned in at_once]
    queue = [point for point in points if point[0] not in tried]
    records = {record.trial: record for record in run.trials()}
    folders = {int(folder.trial): folder for folder in _folders(run)}
    for number in range(len(previous), max(folders, default=-1) + 1):
        if folder := folders.get(number):
            study.add_trial(_as_optuna_trial(folder, records.get(folder.trial), sweep))
            config = build(TrialConfig(), folder.params())
            if asked := next((point for point in queue if point[0] == config), None):
                queue.remove(asked)
        else:  # proposed, but never started: queued again
            study.add_trial(create_trial(state=OptunaState.FAIL))
    for _, drawn, pinned in queue:
        study.enqueue_trial(drawn, user_attrs={"pinned": pinned})
    study.set_user_attr("queued", True)
    if run.journal.exists():
        run.journal.replace(run.journal.with_name(f"{run.journal.name}.damaged"))
    draft.replace(run.journal)


def _as_optuna_trial(folder: TrialDir, record: TrialRecord | None, sweep: Sweep) -> FrozenTrial:
    """A trial of this sweep by its folder: its values, its epochs, and how it ended if it has."""
    drawn, pinned = sweep.space.split(folder.params())
    rows, config = folder.rows(), build(TrialConfig(), folder.params())
    state = folder.state(record.state if record else None)
    if state == TrialState.DONE and not rows:
        state = TrialState.FAILED  # its score is lost
    single, values = len(sweep.objectives) == 1, None
    if state == TrialState.DONE:
        values = list(folder.objective_values(sweep.judged_by))
    elif state == TrialState.STOPPED and single and rows:
        values = [rows[-1].number(sweep.judged_by[0])]
    return create_trial(
        state=OPTUNA_STATES.get(state, OptunaState.RUNNING),
        values=values,
        params=drawn,
        distributions=distributions_of(sweep.space.distributions(), drawn),
        user_attrs={"arm": configuration_name(config), "pinned": pinned},
        intermediate_values=_curve(rows, sweep) if single else None,
    )


def _curve(rows: Sequence[EpochRow], sweep: Sweep) -> dict[int, float]:
    """What Optuna is told of each epoch."""
    return {row.epoch: row.number(sweep.judged_by[0]) for row in rows}


def _note_lost(study: optuna.Study, run: Run) -> None:
    """Note in trials.jsonl what only Optuna and the folders still know: a line of it was lost."""
    records = {record.trial: record.state for record in run.trials()}
    last_tries = {trial_name(trial): trial for trial in study.get_trials(deepcopy=False)}
    for name, trial in last_tries.items():
        folder = run.trial(name)
        known = records.get(folder.trial)
        if known in ENDED or not folder.config.exists():
            continue
        if state := _lost_state(trial, folder, known):
            about = {} if known else _about(folder)
            run.note(folder.trial, state, **about, **folder.ending().changes())


def _lost_state(
    trial: FrozenTrial, folder: TrialDir, known: TrialState | None
) -> TrialState | None:
    """How a trial ended, or that it is paused, though its records do not say so; else None.

    A trial that has ended keeps no checkpoint: trained again, it would start from its first epoch.
    """
    for ours, theirs in OPTUNA_STATES.items():
        if theirs == trial.state:
            return ours
    rows, is_whole = folder.rows(), folder.last.exists() or folder.last_network.exists()
    at_its_end = rows and (folder.stop.exists() or (is_whole and rows[-1].epoch >= _epochs(folder)))
    if folder.failure.exists() or (at_its_end and not on_disk(folder.path)):
        return folder.ending().state
    return TrialState.PAUSED if not known and folder.state() == TrialState.PAUSED else None


def _epochs(folder: TrialDir) -> int:
    return int(folder.params()["epochs"])


def _about(folder: TrialDir) -> dict[str, Any]:
    """What the first record of a trial says of it."""
    params = folder.params()
    return {"configuration": configuration_name(build(TrialConfig(), params)), "params": params}


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's notes on new studies, and its warnings of what it calls experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
