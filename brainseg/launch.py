"""Run a sweep, or go on with one that was cut off: the same call does both.

Nothing of Ray Tune's own state is needed to go on. The run's folder holds the study, every
trial's rows and checkpoints; a new driver reads these and continues where the old one ended.
"""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.integration.ray_train import TuneReportCallback

from brainseg import checkpoint, cluster, encoders, weights
from brainseg.begin import Say, alone, counts, open_run, parted, read_data
from brainseg.cluster import Placement
from brainseg.config import Encoder, TrialConfig, arm
from brainseg.earlier import Earlier
from brainseg.model import require_buildable, require_freezable, require_size
from brainseg.normalise import require_three_channels
from brainseg.packing import require_channels
from brainseg.race import FINALISTS, Race
from brainseg.records import Ending, Run, TrialRecord, write_text
from brainseg.rungs import Halving
from brainseg.search import Referee, Suggestions
from brainseg.space import Choice, Params, build, flatten
from brainseg.spending import Spending
from brainseg.study import Study
from brainseg.sweep import Points, Sweep
from brainseg.tracking import Mirror, Mode
from brainseg.trial import Task, run_trial
from brainseg.worker import train_together

RETRIES = 2  # of a trial whose process died; it goes on from its last checkpoint


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where and with what a sweep runs; nothing here changes what it finds."""

    data: str  # a path, or an address as s3://bucket/folder
    storage: Path
    layout: str = "auto"  # of the data, see layouts.py
    workers: int = 1  # DDP processes of one trial
    gpus: float | None = None  # of each worker; None: one if there are any
    earlier: Path | None = None  # the folder of a sweep whose trials this one starts from
    wandb: Mode = "offline"
    address: str | None = None  # of a Ray cluster; None starts one on this machine
    made_up: bool = False  # the data are phantoms
    command: str = ""  # as the user typed it


def run_sweep(sweep: Sweep, job: Job, say: Say = print) -> Run:
    """Run ``sweep`` until its budget is spent and return its folder.

    Raises:
        ValueError: bad input, before any trial starts: data, space, weights, resources, a run of
            the same name that asked something else, or one that is under way.
    """
    run = Run(job.storage / sweep.name)
    data = read_data(job.data, job.layout, say)
    points = all_points(sweep)
    check_points(points, job.workers)
    check_channels(points, data.table, data.root)
    parts = parted(data, sweep.split, say, run, sweep.confirms)
    data.table[parts.columns] = parts
    with alone(run):
        earlier = open_run(
            run,
            sweep,
            data,
            made_up=job.made_up,
            command=job.command,
            earlier=job.earlier,
        )
        say(_headline(run, data.table))
        if earlier:
            say(f"starts from the {len(earlier)} trials of {job.earlier}")
        with cluster.joined(job.address) as total:
            placement = place_trials(sweep, job, points, total)
            if not placement.gpus and any(point.sync_batch_norm for point in points):
                raise ValueError("sync_batch_norm works on GPUs only; leave it at false on CPUs")
            say(
                f"{placement.concurrent} trials at once, {placement.workers} worker(s) each with "
                f"{placement.cpus} CPU(s) and {placement.gpus:g} GPU(s)"
            )
            _tune(run, sweep, job, placement, earlier, say)
    return run


def _tune(
    run: Run,
    sweep: Sweep,
    job: Job,
    placement: Placement,
    earlier: Sequence[Earlier],
    say: Say,
) -> None:
    """Let Tune train what the search suggests, until it suggests no more."""
    study, spending = Study(run, sweep, earlier), Spending(run, sweep.budget)
    race = Race(run, _halving(sweep), earlier)
    devices = placement.concurrent * placement.workers
    search = Suggestions(study, race, spending, trials=sweep.trials, places=devices)
    mirror = Mirror(run, job.wandb)
    recorder = Recorder(run, study, race, mirror, sweep.trials, say)
    if search.is_over():
        recorder.stop_waiting(search.ended)  # if the driver before died in the middle of this
        if not run.is_whole():
            run.note_driver("ends", reason=search.ended, whole=True)
        mirror.close()
        say(f"{search.ended}; raise the budget to go on")
        return
    run.note_driver("begins", process=os.getpid(), host=socket.gethostname())
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    whole = False
    try:
        _fit(run, placement, search, Referee(run, study, race, spending), recorder)
        whole = bool(search.ended) and not race.running()
        if whole:
            recorder.stop_waiting(search.ended)
            say(f"the search has ended: {search.ended}")
    finally:
        reason = search.ended if whole else "interrupted"
        run.note_driver("ends", reason=reason, whole=whole)
        mirror.close()


def _fit(
    run: Run, placement: Placement, search: Suggestions, referee: Referee, recorder: "Recorder"
) -> None:
    _keep_keys_out_of_logs()
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # our records say it all
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its banner comes at any verbosity
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial may fail before its score
    tuner = tune.Tuner(
        _trainable(run, placement),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=referee,
            num_samples=-1,  # until the search says that it has ended
            max_concurrent_trials=placement.concurrent,
            reuse_actors=placement.workers == 1,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            storage_path=str((run.path / "ray").resolve()),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[recorder],
            verbose=0,
        ),
    )
    try:
        tuner.fit()  # ends in good order at the first Ctrl-C or SIGTERM, at once at the second
    except ValueError as error:
        if "experiment snapshot" not in str(error):
            raise
        raise KeyboardInterrupt from error  # Tune was stopped before it began anything


def _halving(sweep: Sweep) -> Halving | None:
    """The rungs of a search; none for a list of points, nor where all would be finalists."""
    strategy = sweep.strategy
    if isinstance(strategy, Points) or strategy.trials <= FINALISTS:
        return None
    return Halving(grace=strategy.grace_epochs, reduction=strategy.reduction)


def _keep_keys_out_of_logs() -> None:
    """Tune hands the driver's AWS keys to its trials by a setting that Ray writes into its logs.

    On this machine trials inherit the keys all the same; other nodes have their own, or a role.
    """
    passed_on = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {n for n in passed_on if not n.startswith("AWS_")}


def _trainable(run: Run, placement: Placement) -> Any:
    """The function that Tune runs for each trial, with what it needs of the cluster."""
    path = run.path.resolve()

    def trial(config: dict[str, Any]) -> None:
        params = dict(config)
        task = Task(path, params.pop("trial"), params, threads=placement.cpus)
        if placement.workers == 1:
            device = torch.device("cuda" if placement.gpus else "cpu")
            run_trial(task, tune.report, device)
        else:
            train_together(
                task,
                workers=placement.workers,
                resources=placement.resources,
                callbacks=[TuneReportCallback()],
            )

    if placement.workers == 1:
        return tune.with_resources(trial, placement.resources)
    # The trial itself only waits; a CPU for it could keep its own workers from ever starting.
    return tune.with_resources(trial, {"node:__internal_head__": 0.001})


class Recorder(tune.Callback):
    """Notes every change of a trial's state, tells Optuna and W&B, says one line an epoch."""

    def __init__(
        self, run: Run, study: Study, race: Race, mirror: Mirror, trials: int, say: Say
    ) -> None:
        self.run, self.study, self.race, self.mirror = run, study, race, mirror
        self.trials, self.say = trials, say

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        params, name = _own(trial.config)
        words = arm(build(TrialConfig(), params))
        rows = self.run.trial(name).rows()
        self.run.note(name, "running", arm=words, params=params)
        after = f" again after epoch {rows[-1]['epoch']}" if rows else ""
        self.say(f"[{name}] begins{after}: {words}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" not in result:
            return
        params, name = _own(trial.config)
        self.mirror.follow(self._record(name))
        self.say(
            f"[{name}] epoch {result['epoch']}/{params['epochs']}  "
            f"loss {result['train_loss']:.3f}  dice {result['dice']:.3f}  "
            f"best {result['best_dice']:.3f}  {result['seconds']:.1f} s"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, crashed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, crashed=True)

    def _end(self, trial: Any, *, crashed: bool) -> None:
        """What a trial's return means follows from its folder: it paused, or it has ended."""
        _, name = _own(trial.config)
        ending = self.run.trial(name).ending(crashed=crashed)
        if ending.state == "paused":
            self.run.note(name, "paused", **_facts(ending))
            self.race.rests(name)
            checkpoint.keep_newest(self.run.trial(name).path)
            reason = self.race.waiting()[name]
            self.say(f"[{name}] pauses" + f" ({reason})" * bool(reason))
        else:
            self.race.ends(name, failed=ending.state == "failed")
            self._close(name, ending)

    def stop_waiting(self, why: str) -> None:
        """The search has ended: what still waits at a rung is stopped there for good."""
        for name, reason in self.race.waiting().items():
            write_text(self.run.trial(name).stop, f"{reason}; {why}" if reason else why)
            self.race.ends(name, failed=False)
            self._close(name, self.run.trial(name).ending(crashed=False))

    def _close(self, name: str, ending: Ending) -> None:
        self.run.note(name, ending.state, **_facts(ending))
        self.study.tell(name)  # noted before: see Study.unfinished
        checkpoint.drop_latest(self.run.trial(name).path)
        self.mirror.finish(self._record(name))
        ended = self.run.count_ended()
        score = "no score" if ending.dice is None else f"best dice {ending.dice:.3f}"
        reason = f" ({ending.reason})" if ending.reason else ""
        self.say(f"[{name}] {ending.state}: {score}{reason}; {ended} of {self.trials} trials ended")

    def _record(self, name: str) -> TrialRecord:
        return next(record for record in self.run.trials() if record.trial == name)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one is made anew by each driver


def _facts(ending: Ending) -> dict[str, Any]:
    return {name: value for name, value in asdict(ending).items() if name != "state"}


def _own(config: dict[str, Any]) -> tuple[Params, str]:
    params = dict(config)
    return params, str(params.pop("trial"))


def all_points(sweep: Sweep) -> list[TrialConfig]:
    """Configs that stand for all the sweep can draw: first points, and each option of a choice."""
    space = sweep.space
    sweep.points()  # refuses what the searcher could not reach
    points = [space.config(point) for point in sweep.first]
    if isinstance(sweep.strategy, Points):
        return points
    own = flatten(space.config({}))
    choices = {
        path: distribution
        for path, distribution in space.distributions().items()
        if isinstance(distribution, Choice) and path in own
    }
    # Where the base holds an option that is never drawn, the first that is stands for it.
    space = space.holding({p: c.options[0] for p, c in choices.items() if not c.holds(own[p])})
    points.insert(0, space.config({}))
    for path, choice in choices.items():
        points += [space.config({path: option}) for option in choice.options]
    return points


def check_points(points: list[TrialConfig], workers: int) -> None:
    """Refuse what would fail in training: networks, weights, sizes, batches that do not divide."""
    for encoder in dict.fromkeys(p.model for p in points if isinstance(p.model, Encoder)):
        encoders.require_known(encoder.name)
    for config in points:
        require_size(config.model, config.image_size)
        if config.batch_size % workers:
            raise ValueError(
                f"batch_size must be a multiple of the workers, got {config.batch_size} images "
                f"for {workers} workers; set batch_size or --workers"
            )
    networks = {(p.model, p.channels, p.image_size, p.batch_size // workers): 0 for p in points}
    for model, channels, size, images in networks:
        require_buildable(model, channels, size, images)
        if isinstance(model, Encoder):
            require_freezable(model, channels, size)
    starts = {
        (p.model.name, p.model.weights, p.channels): 0
        for p in points
        if isinstance(p.model, Encoder)
    }
    for name, start, channels in starts:
        weights.require_weights(name, start, channels)


def check_channels(points: list[TrialConfig], table: pd.DataFrame, data: Path) -> None:
    """Refuse data whose images have not the channels that the points declare."""
    for channels, how in {(p.channels, p.normalise): 0 for p in points}:
        require_channels(table, data, channels)
        require_three_channels(how, channels)


def place_trials(
    sweep: Sweep, job: Job, points: list[TrialConfig], total: Mapping[str, float]
) -> Placement:
    """How the sweep's trials share what the cluster has in ``total``."""
    return cluster.place(
        total,
        workers=job.workers,
        gpus=job.gpus,
        trials=sweep.trials,
        pixels=max(config.batch_size * config.image_size**2 for config in points),
    )


def _headline(run: Run, table: pd.DataFrame) -> str:
    held = ", ".join(
        f"{part} {number['patients']} patients / {number['slices']} slices"
        for part, number in counts(table).items()
    )
    return f"{run.path}: {held}"
