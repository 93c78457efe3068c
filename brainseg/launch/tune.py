"""Ray Tune runs the trials that the search proposes."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.integration.ray_train import TuneReportCallback

from brainseg.cluster.capacity import ClusterCapacity
from brainseg.cluster.placement import Placement
from brainseg.cluster.placement_groups import PlacementGroups, own_job
from brainseg.config.sweep import Points, Sweep
from brainseg.launch.ending import EndWatcher, faults_said
from brainseg.launch.job import Ended, Job
from brainseg.launch.race import judge_of
from brainseg.launch.recorder import RETRIES, Abandoned, Recorder
from brainseg.launch.retries import why_retry
from brainseg.launch.room_timeout import Interrupted, RoomWatcher
from brainseg.launch.stall import StallWatcher
from brainseg.launch.tune_adapter import EpochListener, NoProgressLines, SweepSearcher
from brainseg.launch.workers import train_together
from brainseg.process import Log, environment, stop_deferred
from brainseg.records.cache import default_cache
from brainseg.records.run import Run
from brainseg.records.storage import MachineFault, storage_faults
from brainseg.search.budget import BudgetTracker
from brainseg.search.driver import SearchDriver
from brainseg.search.halving import Halving
from brainseg.search.rounds import races
from brainseg.search.scheduler import FINALISTS, TrialScheduler
from brainseg.search.study import Study
from brainseg.search.warm_start import PreviousTrial
from brainseg.tracking.mirror import Mirror
from brainseg.training.task import Task
from brainseg.training.trial import run_trial

TUNE = {  # settings of Ray Tune, read from the environment
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records say it all
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner comes at any verbosity
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the search itself starts no more than fit
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # our records say it all; a full disk is no matter of Tune's
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours tells it to end, see EndWatcher
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may fail before its score
}


def tune_trials(
    run: Run,
    sweep: Sweep,
    job: Job,
    capacity: ClusterCapacity,
    earlier: Sequence[PreviousTrial],
    log: Log,
) -> None:
    """Let Tune train what the search proposes, until the search ends."""
    _release_killed(run)
    driver = _driver(run, sweep, job, capacity, earlier, log)
    mirror = Mirror(run, job.wandb, log)
    groups = PlacementGroups(not_ours=PlacementGroups().ids())
    stalls = StallWatcher(
        run, capacity.placement, groups, minutes=job.stall_minutes, attempts=RETRIES + 1, log=log
    )
    recorder = Recorder(driver, mirror, stalls.reason, log)
    if driver.is_over():
        _close_ended(driver, recorder, log)
        mirror.close()
        return
    run.note_driver("begins", process=os.getpid(), host=socket.gethostname(), **own_job())
    watcher = RoomWatcher(capacity, groups, minutes=job.wait_minutes, log=log)
    whole, reason = False, "interrupted"
    try:
        with faults_said(run), stop_deferred() as interrupted, suppress(Interrupted):
            callbacks = [EndWatcher(run, interrupted), recorder, watcher, stalls]
            with TemporaryDirectory(prefix="brainseg-tune-") as scratch, _faults_raised(recorder):
                _fit(driver, capacity.placement, callbacks, job, scratch)
        whole = bool(driver.ended) and not driver.scheduler.running()
        if whole:
            recorder.stop_paused(driver.ended)
            log(f"the search has ended: {driver.ended}")
        reason = driver.ended if whole else watcher.ended or reason
    except MachineFault as fault:
        reason = str(fault)
        raise
    finally:
        try:
            run.note_driver("ends", reason=reason, whole=whole)
        finally:
            if capacity.placement.workers > 1 and capacity.shared and not recorder.fault:
                groups.release_for_good()
            mirror.close()
    if watcher.ended:
        raise Ended(run, watcher.ended)


def _close_ended(driver: SearchDriver, recorder: Recorder, log: Log) -> None:
    """Nothing is left to train; the driver before may have died before it said so."""
    recorder.stop_paused(driver.ended)
    if not driver.run.is_whole():
        driver.run.note_driver("ends", reason=driver.ended, whole=True)
    log(f"{driver.ended}; raise the budget to continue")


def _driver(
    run: Run,
    sweep: Sweep,
    job: Job,
    capacity: ClusterCapacity,
    earlier: Sequence[PreviousTrial],
    log: Log,
) -> SearchDriver:
    return SearchDriver(
        run,
        Study(run, sweep, earlier, log),
        TrialScheduler(run, _halving(sweep), earlier),
        BudgetTracker(run, sweep.budget),
        num_trials=sweep.trials,
        slots=capacity.slots,
        workers=capacity.placement.workers,
        judge=judge_of(run, sweep, log) if races(sweep) else None,
        retry=lambda record: why_retry(run, record, asked=job.retry_failed),
    )


def _release_killed(run: Run) -> None:
    """Give back placement groups that killed drivers may have left in this cluster."""
    cluster_now = own_job()["cluster"]
    for event in run.drivers():
        is_ours = event.get("job") == own_job()["job"]  # a second sweep of one program
        if event.get("cluster") == cluster_now and not is_ours:
            PlacementGroups(event["job"]).release()


def _fit(
    driver: SearchDriver,
    placement: Placement,
    callbacks: list[tune.Callback],
    job: Job,
    scratch: str,
) -> None:
    """Let Tune work; ``scratch`` is a folder of this machine for what Tune writes."""
    tuner = tune.Tuner(
        _trainable(driver.run, placement, job),
        tune_config=tune.TuneConfig(
            search_alg=SweepSearcher(driver),
            scheduler=EpochListener(driver),
            num_samples=-1,  # until the search says that it has ended
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            storage_path=scratch,  # nobody reads what Tune writes, and it would make folders
            failure_config=tune.FailureConfig(max_failures=0),  # see Recorder.on_trial_error
            callbacks=[*callbacks, NoProgressLines()],
            verbose=0,
        ),
    )
    with environment(**TUNE), _keys_kept_out_of_logs():
        tuner.fit()


@contextmanager
def _faults_raised(recorder: Recorder) -> Iterator[None]:
    """Raise the machine's fault itself that the recorder ended Tune for, not Tune's wrapping."""
    try:
        yield
    except (Exception, Abandoned):
        if recorder.fault:
            raise recorder.fault from None
        raise


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


def _trainable(run: Run, placement: Placement, job: Job) -> Any:
    """The function that Tune runs for each trial, with what it needs of the cluster.

    Ray imports in the trial's process what a function refers to: each refers to its part only.
    """
    path, wait_seconds, every = run.path.resolve(), 60 * job.wait_minutes, job.checkpoint_every

    def task_of(trial: str) -> Task:
        return Task(path, trial, threads=placement.cpus, checkpoint_every=every)

    def by_one_process(config: dict[str, Any]) -> None:
        task = task_of(config["trial"])
        device = torch.device("cuda" if placement.gpus else "cpu")
        with storage_faults(path, default_cache()):
            run_trial(task, lambda row: tune.report(row.to_json()), device)

    def by_workers(config: dict[str, Any]) -> None:
        train_together(
            task_of(config["trial"]),
            workers=placement.workers,
            resources=placement.resources,
            together=placement.together,
            wait_seconds=wait_seconds,
            callbacks=[TuneReportCallback()],
        )

    if placement.workers == 1:
        return tune.with_resources(by_one_process, placement.resources)
    # The trial itself only waits; a CPU for it could keep its own workers from ever starting.
    return tune.with_resources(by_workers, {"node:__internal_head__": 0.001})
