"""What a sweep will take, before it is launched: some of its arms measured, the rest reckoned."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from brainseg.cluster.autoscaler import autoscaling
from brainseg.cluster.capacity import Log, problems_of
from brainseg.cluster.nodes import living, on_one
from brainseg.cluster.placement import Placement
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.config.sweep import Sweep
from brainseg.data.dataset import read_data
from brainseg.data.partition import assign_split
from brainseg.data.splits.draw import rows_of
from brainseg.launch.job import Job
from brainseg.launch.run import joined, place_trials
from brainseg.launch.run_folder import open_run
from brainseg.launch.validate import all_points, check_channels
from brainseg.planning.cost_model import cost_key, steady, work_at
from brainseg.planning.forecast import Outcomes, Place, Plan, obstacle, reckon
from brainseg.planning.probe import Measured, in_own_process
from brainseg.records.files import write_json
from brainseg.records.run import Run


def plan(sweep: Sweep, job: Job, *, measure: int = 2, log: Log = print) -> Plan:
    """Measure so many of the sweep's arms, from the least to the most work; reckon the rest.

    Weights are not needed, and not downloaded: random ones cost the same. In a cluster that others
    keep each arm is measured where there is room for a worker, else on this machine with Ray ended.

    Raises:
        ValueError: bad input, as ``run_sweep`` says, or none of the arms can run.
    """
    data = read_data(job.data, job.layout, log)
    points = all_points(sweep)
    check_channels(points, data.table, data.root)
    parts = assign_split(data, sweep.split, log)
    data.table[parts.columns] = parts
    train, validation = rows_of(data.table)
    with ExitStack() as stack:
        shared = stack.enter_context(joined(job))
        config = autoscaling(living()) if shared else {}
        place = Place(
            train=len(train),
            validation=len(validation),
            placement=place_trials(sweep, job, points, config, log, shared=shared),
            memory_bytes=sum(node.memory for node in living()),
        )
        measure_in: Callable[..., Measured | str] = in_own_process
        if shared:  # where all its machines see it
            _require_writable(job.storage)
            if problem := problems_of([job.storage.resolve()], living()):
                raise ValueError(problem)
            measure_in = partial(_in_cluster, place.placement, minutes=job.wait_minutes)
        else:
            stack.close()
        folder = TemporaryDirectory(prefix="brainseg-", dir=job.storage if shared else None)
        run = Run(Path(stack.enter_context(folder)))
        open_run(run, sweep, data, made_up=job.made_up, command=job.command)
        probe = partial(_probe, run, place, measure_in, log)
        outcomes = measured_arms(points, probe, place, measure)
    return reckon(sweep, points, outcomes, place)


def _require_writable(storage: Path) -> None:
    try:
        storage.mkdir(parents=True, exist_ok=True)
        TemporaryDirectory(dir=storage).cleanup()
    except OSError as error:
        raise ValueError(
            f"{storage} cannot be written to ({error.strerror}); name another with --storage"
        ) from None


def _in_cluster(
    placement: Placement, run: Run, trial: str, *, threads: int, on_gpu: float, minutes: float
) -> Measured | str:
    """Measure on a machine of the cluster that has room for one worker."""
    whole = Run(run.path.resolve())
    try:
        found: Measured | str = on_one(
            in_own_process,
            whole,
            trial,
            threads=threads,
            on_gpu=on_gpu,
            resources=placement.resources,
            timeout_seconds=60 * max(minutes, 5),
        )
    except TimeoutError as error:
        raise ValueError(
            f"a worker of {threads} CPU(s) and {on_gpu:g} GPU(s) must find room in the cluster, "
            f"{error}; see `ray status`, or wait longer with --wait"
        ) from None
    return found


def measured_arms(
    points: Sequence[TrialConfig],
    probe: Callable[[TrialConfig], Measured | str],
    place: Place,
    count: int,
) -> Outcomes:
    """Probe ``count`` arms, evenly from the least to the most work; say which cannot run.

    Where a probe fails, the next arm takes its place.
    """
    keys = dict.fromkeys(cost_key(steady(config)) for config in points)
    outcomes: dict[TrialConfig, Measured | str] = {}
    operations = {}
    for key in keys:
        if why := obstacle(key, place):
            outcomes[key] = why
        else:
            operations[key] = work_at(key, place.placement.workers).step_flops
    left = sorted(operations, key=operations.__getitem__)
    while todo := [key for key in _spread(left, count) if key not in outcomes]:
        outcomes[todo[0]] = probe(todo[0])
        left = [key for key in left if not isinstance(outcomes.get(key), str)]
    return outcomes


def _spread(keys: Sequence[TrialConfig], count: int) -> list[TrialConfig]:
    """The first, the last, and evenly what is between them: ``count`` in all."""
    if not keys:
        return []
    places = np.linspace(0, len(keys) - 1, min(count, len(keys))).round().astype(int)
    return [keys[place] for place in places.tolist()]


def _probe(
    run: Run, place: Place, measure_in: Callable[..., Measured | str], log: Log, key: TrialConfig
) -> Measured | str:
    """Measure one arm on a worker's share of its batch."""
    log(f"measuring {configuration_name(key)}")
    trial = f"{len(list(run.path.glob('trials/*'))):04d}"
    share = replace(key, batch_size=key.batch_size // place.placement.workers)
    write_json(run.trial(trial).config, flatten(share))
    placement = place.placement
    return measure_in(run, trial, threads=placement.cpus, on_gpu=placement.gpus)
