"""What a sweep will take: some of its configurations are measured, the rest estimated."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from brainseg.cluster.autoscaler import autoscaling
from brainseg.cluster.capacity import problems_of
from brainseg.cluster.nodes import living, on_one
from brainseg.cluster.placement import Placement
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.config.sweep import Sweep
from brainseg.data.dataset import read_data
from brainseg.data.partition import assign_split
from brainseg.data.splits.folds import rows_of
from brainseg.launch.job import Job
from brainseg.launch.run import joined_cluster, place_trials
from brainseg.launch.run_folder import open_run
from brainseg.launch.validate import all_points, check_channels, tumours_lost
from brainseg.planning.cost_model import cost_key, steady, work_at
from brainseg.planning.forecast import Outcomes, Plan, Workload, estimate, obstacle
from brainseg.planning.probe import Measured, in_own_process
from brainseg.process import Log
from brainseg.records.run import Run

MeasureOne = Callable[..., Measured | str]  # of a run and a trial in it


def plan(sweep: Sweep, job: Job, *, measure: int = 2, log: Log = print) -> Plan:
    """Measure ``measure`` configurations, from the least to the most work; estimate the rest.

    Weights are not needed, and not downloaded: random ones cost the same. In a shared cluster each
    configuration is measured where there is room for a worker; else on this machine, once Ray has
    ended.

    Raises:
        ValueError: bad input, as ``run_sweep`` says, or none of the configurations can run.
    """
    data = read_data(job.data, job.layout, log, job.label)
    points = all_points(sweep)
    check_channels(points, data.table, data.root)
    for line in tumours_lost(points, data.table, data.root):
        log(line)
    parts = assign_split(data, sweep.split, log)
    data.table[parts.columns] = parts
    train, validation = rows_of(data.table)

    def outcomes(measure_one: MeasureOne, folder: Path | None) -> Outcomes:
        """Measure in a run that is removed again; ``folder`` is where all machines see it."""
        with TemporaryDirectory(prefix="brainseg-", dir=folder) as path:
            run = Run(Path(path))
            open_run(run, sweep, data, made_up=job.made_up, command=job.command)
            probe = partial(_probe, run, workload, measure_one, log)
            return measured_configurations(points, probe, workload, measure)

    with joined_cluster(job) as shared:
        limits = autoscaling(living()) if shared else {}
        workload = Workload(
            train=len(train),
            validation=len(validation),
            placement=place_trials(sweep, job, points, limits, log, shared=shared),
            memory_bytes=sum(node.memory for node in living()),
        )
        if shared:
            _require_shared(job.storage)
            measure_one = partial(_in_cluster, workload.placement, minutes=job.wait_minutes)
            return estimate(sweep, points, outcomes(measure_one, job.storage), workload)
    return estimate(sweep, points, outcomes(in_own_process, None), workload)


def _require_shared(storage: Path) -> None:
    """Refuse a folder that this machine cannot write to, or another one does not see."""
    try:
        storage.mkdir(parents=True, exist_ok=True)
        TemporaryDirectory(dir=storage).cleanup()
    except OSError as error:
        raise ValueError(
            f"{storage} cannot be written to ({error.strerror}); name another with --storage"
        ) from None
    if problem := problems_of([storage.resolve()], living()):
        raise ValueError(problem)


def _in_cluster(
    placement: Placement, run: Run, trial: str, *, threads: int, on_gpu: float, minutes: float
) -> Measured | str:
    """Measure on a machine of the cluster that has room for one worker."""
    try:
        outcome: Measured | str = on_one(
            in_own_process,
            Run(run.path.resolve()),
            trial,
            threads=threads,
            on_gpu=on_gpu,
            resources=placement.resources,
            timeout_seconds=60 * max(minutes, 5),
        )
    except TimeoutError as error:
        raise ValueError(
            f"a worker of {threads} CPU(s) and {on_gpu:g} GPU(s) must find room in the cluster, "
            f"{error}; see `ray status`, or wait longer with --wait MINUTES"
        ) from None
    return outcome


def measured_configurations(
    points: Sequence[TrialConfig],
    probe: Callable[[TrialConfig], Measured | str],
    workload: Workload,
    count: int,
) -> Outcomes:
    """Measure ``count`` configurations, evenly from the least to the most work.

    Those that cannot run get a reason. Where a probe fails, the next configuration replaces it.
    """
    keys = dict.fromkeys(cost_key(steady(config)) for config in points)
    outcomes: dict[TrialConfig, Measured | str] = {}
    operations = {}
    for key in keys:
        if why := obstacle(key, workload):
            outcomes[key] = why
        else:
            operations[key] = work_at(key, workload.placement.workers).step_flops
    left = sorted(operations, key=operations.__getitem__)
    while todo := [key for key in _spread(left, count) if key not in outcomes]:
        outcomes[todo[0]] = probe(todo[0])
        left = [key for key in left if not isinstance(outcomes.get(key), str)]
    return outcomes


def _spread(keys: Sequence[TrialConfig], count: int) -> list[TrialConfig]:
    """The first, the last, and keys evenly between them: ``count`` in all."""
    if not keys:
        return []
    positions = np.linspace(0, len(keys) - 1, min(count, len(keys))).round().astype(int)
    return [keys[position] for position in positions.tolist()]


def _probe(
    run: Run,
    workload: Workload,
    measure_one: MeasureOne,
    log: Log,
    key: TrialConfig,
) -> Measured | str:
    """Measure one configuration on a worker's share of its batch."""
    log(f"measuring {configuration_name(key)}")
    trial = f"{len(list(run.path.glob('trials/*'))):04d}"
    share = replace(key, batch_size=key.batch_size // workload.placement.workers)
    run.trial(trial).create(flatten(share))
    placement = workload.placement
    return measure_one(run, trial, threads=placement.cpus, on_gpu=placement.gpus)
