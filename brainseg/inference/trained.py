"""The model that trials of a run make: one network, or those of all folds and seeds."""

from collections.abc import Sequence
from pathlib import Path

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.hyperparameters import configuration_name
from brainseg.data.channels import recorded_names
from brainseg.inference.bundle import filled
from brainseg.inference.description import Description, Member
from brainseg.inference.model import Model
from brainseg.inference.winner import rank
from brainseg.models.weight_files import StateDict, read_states
from brainseg.records.files import Unreadable
from brainseg.records.run import Run
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.training.keeping.checkpoint import load
from brainseg.training.task import Task

TRAIN_AGAIN = "restore it from a copy, name another trial, or train this one again"


def model_of_run(run: Run, arm: str | None = None) -> Model:
    """The run's winner, or the configuration that ``arm`` names, see ``winner``.

    Raises:
        ValueError: no trial has finished, a network is missing or damaged, or no such ``arm``.
    """
    ranking = rank(RunSnapshot.load(run))
    chosen = ranking.winner if arm is None else ranking.named(arm)
    return _of_trials(run, chosen.members, name=chosen.name)


def model_of_trial(run: Run, trial: str) -> Model:
    """The network that one trial kept.

    Raises:
        ValueError: it has failed or has not ended, or its network is missing or damaged.
    """
    return _of_trials(run, [trial])


def _of_trials(run: Run, trials: Sequence[str], name: str = "") -> Model:
    """The networks that these trials kept, as one model."""
    settings = run.settings()
    _refuse_unfinished(run, trials)
    tasks = [Task(run.path, trial) for trial in trials]
    networks, members = [], []
    for task in tasks:
        file = _kept(task)
        state, epoch = _read(file)
        networks.append(filled(task.config, state, file))
        config = task.config
        members.append(Member(trial=task.trial, seed=config.seed, fold=config.fold, epoch=epoch))
    described = Description(
        name=name or configuration_name(tasks[0].config),
        kind="trial" if len(trials) == 1 else "ensemble",
        config=tasks[0].folder.params(),
        members=tuple(members),
        channels=recorded_names(settings["data"]),
        label=settings["data"].get("label", ""),
    )
    return Model(described, networks, run.path)


def _refuse_unfinished(run: Run, trials: Sequence[str]) -> None:
    for record in run.trials():
        if record.trial not in trials:
            continue
        if record.state == TrialState.FAILED:
            raise ValueError(
                f"a model is a trial that finished, trial {record.trial} of {run.path} failed "
                f"({record.reason}); name another one, or try it again with --retry-failed"
            )
        if record.state not in ENDED:
            raise ValueError(
                f"a model is a trial that finished, trial {record.trial} of {run.path} is "
                f"{record.state}; run the sweep's command again to let it finish"
            )


def _kept(task: Task) -> Path:
    """The file of the network that counts; ValueError if there is none."""
    path = task.folder.last_network if task.scored_last else task.folder.best_network
    if path.is_file():
        return path
    raise Unreadable(path, "it is missing, though a trial keeps its network there", TRAIN_AGAIN)


def _read(path: Path) -> tuple[StateDict, int]:
    """The tensors of a kept network, and after which epoch it was kept."""
    try:
        states = read_states(path)
    except ValueError:  # says to download it again
        states = {}
    if list(states) != ["['network']"]:
        raise Unreadable(path, "it is cut short, damaged, or no network of a trial", TRAIN_AGAIN)
    return states["['network']"], int(load(path)["epoch"])
