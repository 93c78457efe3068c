"""The model that trials of a run make: one network, or those of all folds and seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.hyperparameters import configuration_name
from brainseg.data.channels import recorded_names
from brainseg.inference import facts
from brainseg.inference.bundle import NoNetwork, filled
from brainseg.inference.description import Description, Kind, Member, Threshold
from brainseg.inference.model import Model
from brainseg.inference.threshold import choose
from brainseg.inference.winner import Ranking, RunConfiguration, rank
from brainseg.models.network import Network
from brainseg.models.weight_files import StateDict, read_states
from brainseg.process import Log
from brainseg.records.files import Unreadable, readable
from brainseg.records.queries import fold_count
from brainseg.records.run import Run
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.search.refit import folder_of
from brainseg.training.keeping.checkpoint import load
from brainseg.training.task import Task

TRAIN_AGAIN = "restore it from a copy, name another trial, or train this one again"


def model_of_run(run: Run, arm: str | None, log: Log, *, refit: bool = True) -> Model:
    """The run's winner, or the configuration that ``arm`` names, see ``winner``.

    Args:
        refit: whether the finished refit of that configuration is taken in its place.

    Raises:
        ValueError: no trial has finished, a network is missing or damaged, or no such ``arm``.
    """
    snapshot = RunSnapshot.load(run)
    ranking = rank(snapshot)
    chosen = ranking.winner if arm is None else ranking.named(arm)
    if refit and "refits" not in snapshot.sweep and (made := refit_of(run, chosen, log)):
        log(f"takes the refit of {chosen.name}, {made.path}")
        return model_of_run(made, None, log)
    if not ranking.is_search and len(chosen.members) < len(chosen.trials):
        count = f"{len(chosen.members)} of its {len(chosen.trials)} trainings"
        log(f"{chosen.name}: {count} are done, and the model is of these")
    return _model(snapshot, chosen, ranking, log, alone=ranking.is_search)


def refit_of(run: Run, chosen: RunConfiguration, log: Log = print) -> Run | None:
    """The refit of a run's configuration, which lies beside the run; None until it is finished.

    Args:
        log: told what lies in its place, or that it is damaged.
    """
    try:
        folder = folder_of(run, chosen.name, chosen.trials, wins=chosen.rank == 1)
        if not folder.sweep.exists():
            return None
        return folder if any(r.state == TrialState.DONE for r in folder.trials()) else None
    except ValueError as error:
        log(f"no refit of {chosen.name} is taken: {error}")
        return None


def model_of_trial(run: Run, trial: str, log: Log) -> Model:
    """The network that one trial kept.

    Raises:
        ValueError: it has failed or has not ended, or its network is missing or damaged.
    """
    snapshot = RunSnapshot.load(run)
    _refuse_unfinished(snapshot, [trial])
    ranked = [record.trial for record in snapshot.records if record.dice is not None]
    ranking = rank(snapshot) if trial in ranked else None
    name = configuration_name(Task(run.path, trial).config)
    chosen = RunConfiguration(rank=0, name=name, members=(trial,), trials=(trial,), dice=None)
    if ranking:
        chosen = replace(ranking.named(trial), members=(trial,))
    return _model(snapshot, chosen, ranking, log, alone=True)


def _model(
    run: RunSnapshot,
    chosen: RunConfiguration,
    ranking: Ranking | None,
    log: Log,
    *,
    alone: bool,
) -> Model:
    """The networks that the members of ``chosen`` kept, as one model.

    Args:
        ranking: None: of a trial that has no place in one.
        alone: whether it is one trial of many, not all of a configuration.
    """
    _refuse_unfinished(run, chosen.members)
    tasks = [Task(run.path, trial) for trial in chosen.members]
    networks, members = [], []
    for task in tasks:
        network, member = _network(task)
        networks.append(network)
        members.append(member)
    data, refits = run.sweep["data"], run.sweep.get("refits")
    kind: Kind = "refit" if refits else "trial" if alone or len(tasks) == 1 else "ensemble"
    scores = facts.scores_of_refit(refits) if refits else {}
    if ranking and not refits:
        scores = facts.scores_of(run, ranking, chosen, alone=alone)
    described = Description(
        name=chosen.name,
        kind=kind,
        config=facts.shareable(tasks[0].folder.params()),
        members=tuple(members),
        channels=recorded_names(data),
        label=data.get("label", ""),
        data=facts.data_of(run, [task.config for task in tasks]),
        run=facts.origin_of(run, None if refits else ranking, chosen),
        scores=scores,
        weights=facts.weights_of(tasks[0].config),
        versions=dict(run.sweep.get("versions", {})),
    )
    return _completed(Model(described, networks, run.path), run, chosen, log)


def _completed(model: Model, run: RunSnapshot, chosen: RunConfiguration, log: Log) -> Model:
    """The model with its threshold, and with what evaluations showed of it."""
    places = [Run(run.path)]
    if refits := run.sweep.get("refits"):
        threshold = _threshold_of_refit(run, refits, log)
        places += filter(None, [_refitted(run, refits)])
    else:
        each = zip(chosen.members, model.networks, strict=True)
        single = {
            trial: partial(Model, model.description, [network], run.path, model.machine)
            for trial, network in each
        }
        threshold = choose(Run(run.path), single, _chosen_on(run, chosen), log)
    scores = dict(model.description.scores)
    if openings := facts.openings_of(places, model):
        scores["openings"] = openings
    described = replace(model.description, threshold=threshold, scores=scores)
    return Model(described, model.networks, run.path, model.machine)


def _chosen_on(run: RunSnapshot, chosen: RunConfiguration) -> str:
    """On which patients a threshold is chosen."""
    if fold_count(run.sweep) and len(chosen.members) > 1:
        return "each by networks that were not trained on them"
    several = len(chosen.members) > 1
    return f"those that validated {'its trainings' if several else 'its training'}"


def _threshold_of_refit(refit: RunSnapshot, refits: Mapping[str, Any], log: Log) -> Threshold:
    """That of the configuration which was trained again, in the run where it was measured."""
    run = _refitted(refit, refits)
    if run is None:
        return Threshold(why=f"{refits['name']}, the run that it would be chosen in, is not there")
    snapshot = RunSnapshot.load(run)
    chosen = rank(snapshot).named(refits["trial"])
    single: dict[str, Callable[[], Model]] = {
        trial: partial(_alone, Task(run.path, trial)) for trial in chosen.members
    }
    return choose(run, single, f"{_chosen_on(snapshot, chosen)} ({refits['name']})", log)


def _refitted(refit: RunSnapshot, refits: Mapping[str, Any]) -> Run | None:
    """The run whose configuration was trained again; None where it has gone."""
    places = (Path(refits["run"]), refit.path.resolve().parent / refits["name"])
    return next((Run(place) for place in places if Run(place).sweep.is_file()), None)


def _alone(task: Task) -> Model:
    """A trial's network, to score it."""
    network, member = _network(task)
    described = Description(
        name=task.trial, kind="trial", config=task.folder.params(), members=(member,)
    )
    return Model(described, [network], task.folder.path)


def _refuse_unfinished(run: RunSnapshot, trials: Sequence[str]) -> None:
    for record in run.records:
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


def _network(task: Task) -> tuple[Network, Member]:
    """The network that a trial kept.

    Raises:
        Unreadable: there is none, or it is damaged.
    """
    path, config = task.kept_network, task.config
    if not path.is_file():
        fault = "it is missing, though a trial keeps its network there"
        raise Unreadable(path, fault, TRAIN_AGAIN)
    state, epoch = read_network(path)
    member = Member(trial=task.trial, seed=config.seed, fold=config.fold, epoch=epoch)
    try:
        return filled(config, state, path, TRAIN_AGAIN), member
    except NoNetwork as error:
        raise Unreadable(task.folder.config, f"it {error}", TRAIN_AGAIN) from None


def read_network(path: Path) -> tuple[StateDict, int]:
    """The tensors of a kept network, and after which epoch it was kept."""
    with readable(path, TRAIN_AGAIN):
        try:
            states = read_states(path)
        except ValueError:  # says to download it again
            states = {}
    if list(states) != ["['network']"]:
        raise Unreadable(path, "it is cut short, damaged, or no network of a trial", TRAIN_AGAIN)
    return states["['network']"], int(load(path)["epoch"])
