"""From a path to a model: a bundle, a trial's folder, or a run."""

from pathlib import Path

from brainseg.config.hyperparameters import configuration_name
from brainseg.data.channels import recorded_names
from brainseg.inference.bundle import filled, is_bundle, read_bundle
from brainseg.inference.description import Description, Member
from brainseg.inference.model import Model
from brainseg.models.weight_files import read_states
from brainseg.records.run import Run
from brainseg.training.keeping.checkpoint import load
from brainseg.training.task import Task


def open_model(path: Path) -> Model:
    """The model in a folder.

    Args:
        path: a bundle; a trial's folder, whose kept network it is; or a run, whose winner it is: of
            a search the trial that leads, of a confirmation its refit, or the ensemble of the
            leading configuration's folds and seeds.

    Raises:
        ValueError: the folder is none of these, or it holds no whole network.
    """
    if is_bundle(path):
        return read_bundle(path)
    if (path / "config.json").exists() and path.parent.name == "trials":
        return _of_trials(Run(path.parent.parent), [path.name])
    raise ValueError(
        f"a model is a bundle (with model.json), a trial's folder or a run, {path} is none of "
        "them; name one, such as runs/encoders"
    )


def _of_trials(run: Run, trials: list[str]) -> Model:
    """The networks that these trials kept, as one model."""
    folders = [run.trial(trial) for trial in trials]
    tasks = [Task(run.path, trial) for trial in trials]
    files = [_kept(task) for task in tasks]
    config, settings = tasks[0].config, run.settings()
    networks = [
        filled(task.config, read_states(file)["['network']"], file)
        for task, file in zip(tasks, files, strict=True)
    ]
    members = tuple(
        Member(trial=trial, seed=task.config.seed, fold=task.config.fold, epoch=load(file)["epoch"])
        for trial, task, file in zip(trials, tasks, files, strict=True)
    )
    described = Description(
        name=configuration_name(config),
        kind="trial" if len(trials) == 1 else "ensemble",
        config=folders[0].params(),
        members=members,
        channels=recorded_names(settings["data"]),
        label=settings["data"].get("label", ""),
    )
    return Model(described, networks, run.path)


def _kept(task: Task) -> Path:
    """The file of the network that counts; ValueError if there is none."""
    path = task.folder.last_network if task.scored_last else task.folder.best_network
    if not path.is_file():
        raise ValueError(
            f"a trial keeps its network once it has trained, {path} is missing; let the trial "
            "finish, or name another one"
        )
    return path
