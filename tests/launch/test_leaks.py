"""Nothing is left behind by trials that paused, stopped or failed: counted in a living cluster."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.util.placement_group import placement_group_table
from ray.util.state import list_actors

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Budget, Split, Sweep
from brainseg.data.phantom import write_phantoms
from brainseg.launch.job import Job
from brainseg.launch.run import run_sweep
from brainseg.records.run import Run

# One for a whole cluster, made by Ray itself the first time that Ray Train asks for workers.
RAY_OWN = {"_AutoscalingCoordinatorActor"}
SWEEP = Sweep(
    name="leaks",
    question="Does anything leak?",
    space=Space(
        TrialConfig(model=Plain(width=4, depth=1), epochs=3, image_size=32, batch_size=8),
        search=("optimizer.adamw.lr",),
    ),
    first=({"optimizer": "sgd", "optimizer.sgd.lr": 1e38},),  # goes NaN
    strategy=Bayes(trials=64, grace_epochs=1, reduction=3, sampler="random"),
    split=Split(validation=0.3, test=0.0),
)


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=4, slices=3, size=32)


def left_behind() -> dict[str, list[str]]:
    """Living actors and placement groups that are not Ray's own."""
    address = ray.get_runtime_context().gcs_address  # others may have a cluster on this machine
    actors = list_actors(address=address, filters=[("state", "!=", "DEAD")], limit=1000)
    groups = placement_group_table().values()
    return {
        "actors": [a.class_name for a in actors if a.class_name not in RAY_OWN],
        "groups": [g["placement_group_id"] for g in groups if g["state"] != "REMOVED"],
    }


def settled() -> dict[str, list[str]]:
    """What is left once Ray has had a bounded time to bury what has died."""
    for _ in range(60):
        left = left_behind()
        free = ray.available_resources().get("CPU") == 2.0
        if not any(left.values()) and free:
            break
        time.sleep(0.5)
    return left_behind() | {"held": [] if free else ["CPUs"]}


@pytest.mark.ray
def test_fifty_pauses_leave_no_actor_no_placement_group_and_no_optuna_trial_running(
    patients: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    job = Job(data=str(patients), storage=tmp_path, wandb="off")
    run = run_sweep(SWEEP, job, log=said.append)
    assert sum("] paused" in line for line in said) >= 50
    assert settled() == {"actors": [], "groups": [], "held": []}
    records = Counter(record.state for record in run.trials())
    assert records["failed"] == 1 and records["stopped"] >= 30 and records["done"] >= 3
    assert told(run) == {
        "COMPLETE": records["done"],
        "PRUNED": records["stopped"],
        "FAIL": records["failed"],
    }


@pytest.mark.ray
@pytest.mark.cluster
def test_pauses_of_two_workers_under_ray_train_leave_nothing_either(
    patients: Path, tmp_path: Path
) -> None:
    """Three or more pauses and a trial that resumes; a start of two workers takes 20 CPU s."""
    space, strategy = SWEEP.space.holding({"epochs": 2}), replace(SWEEP.strategy, trials=4)
    budget = Budget(patience=3)  # in so few steps none gets better: it ends soon
    sweep = replace(SWEEP, first=(), space=space, strategy=strategy, budget=budget)
    said: list[str] = []
    job = Job(data=str(patients), storage=tmp_path, wandb="off", workers=2)
    run = run_sweep(sweep, job, log=said.append)
    assert sum("] paused" in line for line in said) >= 3
    assert any("] resumes after epoch 1" in line for line in said)
    assert settled() == {"actors": [], "groups": [], "held": []}
    states = Counter(r.state for r in run.trials())
    assert states["done"] >= 1 and states["stopped"] >= 1 and states.total() == 4


def told(run: Run) -> dict[str, int]:
    """How many trials Optuna has in each state."""
    storage = JournalStorage(JournalFileBackend(str(run.journal)))
    study = optuna.load_study(study_name="leaks", storage=storage)
    return dict(Counter(trial.state.name for trial in study.get_trials()))
