"""Run a sweep, or resume one that was cut off: the same call does both.

No state of Ray Tune is needed to resume. The run's folder holds the study, every trial's rows and
checkpoints; a new driver reads these and continues where the old one ended.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from brainseg.cluster import session
from brainseg.cluster.autoscaler import autoscaling
from brainseg.cluster.capacity import ClusterCapacity, rooms_of, wait_for_room
from brainseg.cluster.nodes import living
from brainseg.cluster.placement import Placement, Room, place
from brainseg.cluster.placement_groups import room_requested
from brainseg.cluster.reachability import LOCAL, cluster_address, require_reachable
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.sweep import Sweep
from brainseg.data.address import is_address
from brainseg.data.dataset import read_data
from brainseg.data.labels import in_words
from brainseg.data.partition import assign_split, counts
from brainseg.launch.ending import faults_said
from brainseg.launch.job import Job
from brainseg.launch.run_folder import locked_run, open_run
from brainseg.launch.tune import tune_trials
from brainseg.launch.validate import (
    all_points,
    check_channels,
    check_points,
    check_weights,
    modality_dropout_off,
    points_to_start,
    tumours_lost,
)
from brainseg.process import Log, restored, terminable
from brainseg.records.queries import parts_in_words
from brainseg.records.repair import repair
from brainseg.records.run import Run
from brainseg.training.compute.compiled import require_compiler
from brainseg.training.keeping.carried import restore_rows

ON_KUBERNETES = "KUBERNETES_SERVICE_HOST" in os.environ


@restored()
def run_sweep(sweep: Sweep, job: Job, log: Log = print) -> Run:
    """Run ``sweep`` until its budget is spent and return its folder.

    The environment and the signal handlers, which Ray and W&B change, are restored at the end. A
    Ray that the caller has started is used, and keeps running.

    Raises:
        ValueError: bad input, before any trial starts: data, space, weights, resources, a run of
            the same name with other settings, or one in which another driver works.
        Ended: trials found no room in a cluster, or a machine joined that does not see the run.
    """
    run = Run(job.storage / sweep.name)
    data = read_data(job.data, job.layout, log, job.label)
    points = all_points(sweep)
    check_points(points, job.workers)
    if not (resumes := run.sweep.exists()):
        check_weights(points, log)
    check_channels(points, data.table, data.root)
    for line in tumours_lost(points, data.table, data.root, resumes=resumes):
        log(line)
    origin = sweep.confirms or sweep.refits
    parts = assign_split(data, sweep.split, log, run, origin, sweep.fold_seeds)
    data.table[parts.columns] = parts
    with locked_run(run):
        for line in (*repair(run), *_restored_rows(run)):
            log(line)
        earlier = open_run(
            run,
            sweep,
            data,
            made_up=job.made_up,
            command=job.command,
            earlier=job.earlier,
        )
        if resumes:
            check_weights(points_to_start(run, sweep), log)
        log(_headline(run, data.table))
        if off := modality_dropout_off(run.settings()["data"], points):
            log(off)
        if earlier:
            log(f"starts from the {len(earlier)} trials of {job.earlier}")
        with terminable(), faults_said(run), joined_cluster(job) as shared:
            must_see = [run.sweep.resolve()] + [data.root] * (not is_address(data.address))
            capacity = _capacity(sweep, job, points, must_see, log, shared=shared)
            tune_trials(run, sweep, job, capacity, earlier, log)
    return run


def _restored_rows(run: Run) -> Iterator[str]:
    """Put back the rows that trials have lost which may resume: the search reads them."""
    for path in sorted(run.path.glob("trials/*/config.json")):
        folder = run.trial(path.parent.name)
        if lost := restore_rows(folder):
            yield f"[{folder.trial}] {lost}"


@contextmanager
def joined_cluster(job: Job) -> Iterator[bool]:
    """The cluster that a job names, see ``session.joined``; refused soon if nothing answers."""
    address = cluster_address(job.address)
    if address != LOCAL and not session.has_started():
        require_reachable(address)
    with session.joined(address) as shared:
        yield shared


def _capacity(
    sweep: Sweep,
    job: Job,
    points: Sequence[TrialConfig],
    must_see: Sequence[Path],
    log: Log,
    *,
    shared: bool,
) -> ClusterCapacity:
    """How many trials run at once in the joined cluster; refused if a machine does not see the run.

    ValueError: also if the points need GPUs and there are none.
    """
    config = autoscaling(living()) if shared else {}
    placement = place_trials(sweep, job, points, config, log, shared=shared)
    if not placement.gpus and any(point.sync_batch_norm for point in points):
        raise ValueError("sync_batch_norm works on GPUs only; leave it at false on CPUs")
    if not (shared or placement.gpus) and any(point.compile for point in points):
        require_compiler(torch.device("cpu"))
    capacity = ClusterCapacity(
        placement,
        most=sweep.trials if job.concurrent is None else job.concurrent,
        unbounded=shared and not config and job.concurrent is not None and ON_KUBERNETES,
        shared=shared,
        must_see=must_see,
        log=log,
        config=config,
    )
    capacity.slots()
    if capacity.problem:
        raise ValueError(capacity.problem)
    log(
        f"{placement.concurrent} trials at once, {placement.workers} worker(s) each with "
        f"{placement.cpus} CPU(s) and {placement.gpus:g} GPU(s)"
    )
    return capacity


def place_trials(
    sweep: Sweep,
    job: Job,
    points: Sequence[TrialConfig],
    config: dict[str, Any],
    log: Log,
    *,
    shared: bool,
) -> Placement:
    """How the trials share the joined cluster; in a shared one, room is waited for.

    ``config`` is its autoscaler's, see ``autoscaler.autoscaling``.
    """
    most = sweep.trials if job.concurrent is None else min(job.concurrent, sweep.trials)

    def fill(rooms: Sequence[Room]) -> Placement:
        return place(
            rooms,
            workers=job.workers,
            gpus=job.gpus_per_worker,
            trials=most,
            pixels=max(config.batch_size * config.image_size**2 for config in points),
        )

    request = Placement(
        workers=job.workers,
        cpus=1,
        gpus=job.gpus_per_worker or 0.0,
        concurrent=job.concurrent or 1,
        together=False,
    )
    return wait_for_room(
        fill,
        lambda: rooms_of(living(), config),
        room_requested(request),
        wait_minutes=job.wait_minutes if shared else 0.0,
        log=log,
    )


def _headline(run: Run, table: pd.DataFrame) -> str:
    held = ", ".join(parts_in_words(counts(table)))
    label = in_words(run.settings()["data"].get("label", ""))
    return f"{run.path}: {held}{label and '; '}{label}"
