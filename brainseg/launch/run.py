"""Run a sweep, or go on with one that was cut off: the same call does both.

Nothing of Ray Tune's own state is needed to go on. The run's folder holds the study, every
trial's rows and checkpoints; a new driver reads these and continues where the old one ended.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.integration.ray_train import TuneReportCallback

from brainseg.cluster import session
from brainseg.cluster.capacity import Vacancies, placed
from brainseg.cluster.nodes import Demands, autoscaling, living, own_job
from brainseg.cluster.placement import Placement, Room, place
from brainseg.cluster.reachability import require_reachable
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.sweep import Points, Sweep
from brainseg.data.remote import is_address
from brainseg.launch.recorder import Recorder
from brainseg.launch.room_timeout import Interrupted, Waiting
from brainseg.launch.run_folder import Say, alone, counts, open_run, parted, read_data
from brainseg.launch.tune_adapter import Referee, Suggestions
from brainseg.launch.validate import all_points, check_channels, check_points, modality_dropout_off
from brainseg.launch.workers import train_together
from brainseg.process import environment, kept, terminable
from brainseg.records.run import Run, read_json
from brainseg.search.budget import Spending
from brainseg.search.halving import Halving
from brainseg.search.scheduler import FINALISTS, Race
from brainseg.search.study import Study
from brainseg.search.warm_start import Earlier
from brainseg.tracking import Mirror, Mode
from brainseg.training.trial import Task, run_trial

ON_KUBERNETES = "KUBERNETES_SERVICE_HOST" in os.environ
TUNE = {  # settings of Ray Tune, read from the environment
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records say it all
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner comes at any verbosity
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the search itself begins no more than fit
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may fail before its score
}
RETRIES = 2  # of a trial whose process died, since its last new epoch; it goes on after that


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where and with what a sweep runs; nothing here changes what it finds."""

    data: str  # a path, or an address as s3://bucket/folder
    storage: Path
    layout: str = "auto"  # of the data, see data/formats/detect.py
    workers: int = 1  # DDP processes of one trial
    gpus_per_worker: float | None = None  # None: one if there are any
    concurrent: int | None = None  # trials at once; None: as many as there is room for
    wait_minutes: float = 30.0  # for room in a cluster that others keep
    earlier: Path | None = None  # the folder of a sweep whose trials this one starts from
    wandb: Mode = "offline"
    address: str | None = None  # of a Ray cluster; None starts one on this machine
    made_up: bool = False  # the data are phantoms
    command: str = ""  # as the user typed it


class Ended(ValueError):
    """A sweep was ended before its time, in good order; the same command again goes on."""

    def __init__(self, run: Run, why: str) -> None:
        super().__init__(why)
        self.run = run


@kept()
def run_sweep(sweep: Sweep, job: Job, say: Say = print) -> Run:
    """Run ``sweep`` until its budget is spent and return its folder.

    What it changes of the process, as Ray and W&B do beneath it, is put back. A Ray that the caller
    had begun is used and stays.

    Raises:
        ValueError: bad input, before any trial starts: data, space, weights, resources, a run of
            the same name that asked something else, or one that is under way.
        Ended: trials found no room in a cluster, or a machine joined that does not see the run.
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
        if off := modality_dropout_off(read_json(run.sweep)["data"], points):
            say(off)
        if earlier:
            say(f"starts from the {len(earlier)} trials of {job.earlier}")
        with joined(job) as shared:
            config = autoscaling(living()) if shared else {}
            placement = place_trials(sweep, job, points, config, say, shared=shared)
            if not placement.gpus and any(point.sync_batch_norm for point in points):
                raise ValueError("sync_batch_norm works on GPUs only; leave it at false on CPUs")
            paths = [run.sweep.resolve()] + [data.root] * (not is_address(data.address))
            vacancies = Vacancies(
                placement,
                most=sweep.trials if job.concurrent is None else job.concurrent,
                grows=shared and not config and job.concurrent is not None and ON_KUBERNETES,
                shared=shared,
                seen=paths,
                say=say,
                config=config,
            )
            vacancies.at_once()
            if vacancies.fault:
                raise ValueError(vacancies.fault)
            say(
                f"{placement.concurrent} trials at once, {placement.workers} worker(s) each with "
                f"{placement.cpus} CPU(s) and {placement.gpus:g} GPU(s)"
            )
            _tune(run, sweep, job, vacancies, earlier, say)
    return run


@contextmanager
def joined(job: Job) -> Iterator[bool]:
    """The cluster that a job names, see ``session.joined``; refused soon if it is not there."""
    if not job.wait_minutes >= 0:
        raise ValueError(f"wait must be at least 0 minutes, got {job.wait_minutes:g}")
    address = job.address or os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "auto", "local") and not session.has_begun():
        require_reachable(address)
    with session.joined(job.address) as shared:
        yield shared


def _tune(
    run: Run,
    sweep: Sweep,
    job: Job,
    vacancies: Vacancies,
    earlier: Sequence[Earlier],
    say: Say,
) -> None:
    """Let Tune train what the search suggests, until it suggests no more."""
    study, spending = Study(run, sweep, earlier), Spending(run, sweep.budget)
    race = Race(run, _halving(sweep), earlier)
    workers = vacancies.placement.workers
    _release_killed(run)
    search = Suggestions(
        study, race, spending, trials=sweep.trials, at_once=vacancies.at_once, workers=workers
    )
    mirror = Mirror(run, job.wandb)
    recorder = Recorder(run, study, race, mirror, sweep.trials, say)
    if search.is_over():
        recorder.stop_waiting(search.ended)  # if the driver before died in the middle of this
        if not run.is_whole():
            run.note_driver("ends", reason=search.ended, whole=True)
        mirror.close()
        say(f"{search.ended}; raise the budget to go on")
        return
    run.note_driver("begins", process=os.getpid(), host=socket.gethostname(), **own_job())
    demands = Demands(spare=Demands().before())
    waiting = Waiting(vacancies, demands, minutes=job.wait_minutes, say=say)
    whole = False
    try:
        referee = Referee(run, study, race, spending)
        callbacks = [recorder, waiting]
        with terminable(), suppress(Interrupted):  # by ``waiting``, which says why
            _fit(run, vacancies.placement, search, referee, callbacks, job.wait_minutes)
        whole = bool(search.ended) and not race.running()
        if whole:
            recorder.stop_waiting(search.ended)
            say(f"the search has ended: {search.ended}")
    finally:
        reason = search.ended if whole else waiting.ended or "interrupted"
        run.note_driver("ends", reason=reason, whole=whole)
        if workers > 1 and vacancies.shared:
            demands.release_for_good()
        mirror.close()
    if waiting.ended:
        raise Ended(run, waiting.ended)


def _release_killed(run: Run) -> None:
    """Give back what drivers that were killed in this cluster may have left behind."""
    cluster_now = own_job()["cluster"]
    for event in run.drivers():
        own = event.get("job") == own_job()["job"]  # a second sweep of one program
        if event.get("cluster") == cluster_now and not own:
            Demands(event["job"]).release()


def _fit(
    run: Run,
    placement: Placement,
    search: Suggestions,
    referee: Referee,
    callbacks: list[tune.Callback],
    wait_minutes: float,
) -> None:
    tuner = tune.Tuner(
        _trainable(run, placement, wait_minutes),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=referee,
            num_samples=-1,  # until the search says that it has ended
            reuse_actors=placement.workers == 1,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            storage_path=str((run.path / "ray").resolve()),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=callbacks,
            verbose=0,
        ),
    )
    try:
        with environment(**TUNE), _keys_kept_out_of_logs():
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


@contextmanager
def _keys_kept_out_of_logs() -> Iterator[None]:
    """Tune hands the driver's AWS keys to its trials by a setting that Ray writes into its logs.

    On this machine trials inherit the keys all the same; other nodes have their own, or a role.
    """
    passed_on = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {n for n in passed_on if not n.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = passed_on


def _trainable(run: Run, placement: Placement, wait_minutes: float) -> Any:
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
                together=placement.together,
                wait_seconds=60 * wait_minutes,
                callbacks=[TuneReportCallback()],
            )

    if placement.workers == 1:
        return tune.with_resources(trial, placement.resources)
    # The trial itself only waits; a CPU for it could keep its own workers from ever starting.
    return tune.with_resources(trial, {"node:__internal_head__": 0.001})


def place_trials(
    sweep: Sweep,
    job: Job,
    points: Sequence[TrialConfig],
    config: dict[str, Any],
    say: Say,
    *,
    shared: bool,
) -> Placement:
    """How the trials share the joined cluster; one that others keep is waited for.

    ``config`` is its autoscaler's, see ``nodes.autoscaling``.
    """
    most = sweep.trials if job.concurrent is None else min(job.concurrent, sweep.trials)
    if most < 1:
        raise ValueError(f"concurrent must be at least 1, got {job.concurrent}")

    def fill(rooms: Sequence[Room]) -> Placement:
        return place(
            rooms,
            workers=job.workers,
            gpus=job.gpus_per_worker,
            trials=most,
            pixels=max(config.batch_size * config.image_size**2 for config in points),
        )

    wish = Placement(
        workers=job.workers,
        cpus=1,
        gpus=job.gpus_per_worker or 0.0,
        concurrent=job.concurrent or 1,
        together=False,
    )
    return placed(fill, wish, config, wait_minutes=job.wait_minutes if shared else 0.0, say=say)


def _headline(run: Run, table: pd.DataFrame) -> str:
    held = ", ".join(
        f"{part} {number['patients']} patients / {number['slices']} slices"
        for part, number in counts(table).items()
    )
    return f"{run.path}: {held}"
