"""From a path to a model: a bundle, a trial's folder, or a run."""

from pathlib import Path

from brainseg.data.address import local_path
from brainseg.inference.bundle import is_bundle, read_bundle
from brainseg.inference.model import Model
from brainseg.process import Log
from brainseg.records.run import Run

FORMS = "a model is a bundle (with model.json), a trial's folder, or a run (with sweep.json)"
SHOWN = 5  # names in one sentence


def open_model(
    path: Path, arm: str | None = None, *, refit: bool = True, log: Log = print
) -> Model:
    """The model in a folder.

    Args:
        path: a bundle; a trial's folder, whose kept network it is; or a run, whose winner it is
            (see ``winner``): of a search the trial that leads, of a confirmation or a fixed list
            the ensemble of the leading configuration's folds and seeds. Where that configuration
            was refitted the refit is the model: one network, trained on more patients, is as quick
            as it can be, and somebody asked for it.
        arm: another configuration of the run than its winner: its name as tables have it, or the
            number of one of its trials.
        refit: False: what the run itself trained, whether it was refitted or not.
        log: told which refit is taken, and when a threshold is chosen, once a model: its validation
            patients are predicted.

    Raises:
        ValueError: the folder is none of these, it holds no whole network, or no such ``arm``.
    """
    folder = local_path(path).resolve()
    if not folder.is_dir():
        raise ValueError(_no_folder(folder, path))
    if is_bundle(folder):
        _refuse_arm(arm, path)
        return read_bundle(folder)
    from brainseg.inference import trained  # pandas and the analyses, which a bundle does without

    if (folder / "sweep.json").exists():
        return trained.model_of_run(Run(folder), arm, log, refit=refit)
    if (folder / "config.json").exists() and folder.parent.name == "trials":
        _refuse_arm(arm, path)
        return trained.model_of_trial(Run(folder.parent.parent), folder.name, log)
    raise ValueError(_no_model(folder, path))


def _refuse_arm(arm: str | None, path: Path) -> None:
    if arm is not None:
        raise ValueError(
            f"a run alone has several configurations, {path} is one model; leave out {arm!r}, or "
            "name the run"
        )


def _no_folder(folder: Path, path: Path) -> str:
    if folder.exists():
        return f"{FORMS}, {path} is a file; name its folder, {path.parent}"
    return f"{FORMS}, {path} does not exist; name one that does, such as runs/encoders"


def _no_model(folder: Path, path: Path) -> str:
    if (folder / "config.json").exists():
        return f"a trial's folder must lie in its run, under trials/, {path} does not; name the run"
    if (folder.parent / "sweep.json").exists() and folder.name == "trials":
        return f"{FORMS}, {path} holds a run's trials; name {path.parent}, or one of the trials"
    if runs := sorted(file.parent.name for file in folder.glob("*/sweep.json")):
        names = ", ".join(runs[:SHOWN]) + (", ..." if len(runs) > SHOWN else "")
        return f"{FORMS}, {path} is a folder of runs; name one of {names}"
    return f"{FORMS}, {path} is none of them; name one, such as runs/encoders"
