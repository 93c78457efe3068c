"""Weights, statistics, moments or predictions that are NaN or infinite fail a trial, in writing."""

import re
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainseg.config.hyperparameters import Cosine, DiceBce, Lovasz, Sgd
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.training.guards.finite import require_finite
from brainseg.training.keeping import checkpoint
from brainseg.training.task import Diverged, TrialFailed
from brainseg.training.trial import Trial
from tests.support.tasks import task_of
from tests.support.trials import CPU, NORMED, TINY, last_state, nothing, trained
from tests.support.written import write_json

# One step an epoch, the first at rate 0, so that only the last step of all does harm.
LAST = replace(
    TINY,
    model=NORMED,
    batch_size=1000,
    epochs=2,
    clip_norm=0.0,
    schedule=Cosine(warmup=0.9, floor=0),
)

OVERSHOT = replace(TINY, optimizer=Sgd(lr=1e30), clip_norm=0.0)  # breaks within its first epoch
AT_STEP = re.compile(
    r"the loss became nan at step (?P<step>\d+), on the batch of (?P<slices>PHANTOM.+)"
)
# What the epoch before leaves while the one that fails trains.
BY_THREAD = {"best.pt", "latest-0001.pt", "checkpoints.json", "panels.npz"}


def contents(folder: Path) -> dict[str, bytes]:
    """Its files but those that a thread writes, or has under a hidden name until they are whole."""
    paths = (path for path in folder.iterdir() if path.is_file())
    names = {path.name: path for path in paths if not path.name.startswith(".")}
    return {name: names[name].read_bytes() for name in names.keys() - BY_THREAD}


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (
            Sgd(lr=3e38, weight_decay=100.0),
            "tensors of the network and its optimizer are no longer finite, the first is 'body.",
        ),
        (Sgd(lr=1e37), "validation slices are NaN or infinite, the first on PHANTOM_"),
    ],
    ids=["weights", "finite weights"],
)
def test_a_last_step_that_breaks_the_network_fails_the_trial_and_leaves_what_was_there(
    run: Run, optimizer: Sgd, reason: str
) -> None:
    config = replace(LAST, optimizer=optimizer)
    before: dict[str, bytes] = {}
    folder = trained(run, "t", config, lambda row: before.update(contents(run.trial("t").path)))
    ending = folder.ending()
    assert (ending.state, ending.epoch) == ("failed", 1)
    assert reason in ending.reason and "a lower learning rate" in ending.reason
    after = contents(folder.path)
    assert set(after) - set(before) == {"failure"}
    assert {n for n in before if before[n] != after[n]} == {"costs.jsonl"}, "only costs were added"
    assert last_state(folder)["epoch"] == 1
    assert not folder.last.exists()
    for name in after:
        if "json" in name:
            assert not re.search(rb"NaN|Infinity", after[name]), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", [DiceBce(), Lovasz()], ids=["dice_bce", "lovasz"])
def test_predictions_that_overflow_are_no_score(run: Run, precision: str, loss: object) -> None:
    config = replace(TINY, precision=precision, loss=loss)  # type: ignore[arg-type]
    trial = Trial(task_of(run, "t", config), CPU)
    with torch.no_grad():
        for parameter in trial.learner.network.parameters():
            parameter.mul_(1e20)
    trial.require_finite()
    with pytest.raises(TrialFailed, match=r"predictions on \d+ of 14 .*, the first on PHANTOM_\d+"):
        trial.validate()


@pytest.mark.parametrize("kind", ["parameter", "buffer", "moment"])
@pytest.mark.parametrize("value", [nan, float("inf")])
def test_one_number_anywhere_is_seen_and_its_tensor_named(
    run: Run, kind: str, value: float
) -> None:
    trial = Trial(task_of(run, "t", replace(TINY, model=NORMED, epochs=1)), CPU)
    trial.run_epoch()
    network, optimizer = trial.learner.network, trial.learner.optimizer
    name, parameter = list(network.named_parameters())[-1]
    with torch.no_grad():
        parameter.view(-1)[0] = 1e30  # finite, and its square is not
        trial.require_finite()
        if kind == "parameter":
            parameter.view(-1)[-1] = value
        elif kind == "buffer":
            name, buffer = next(b for b in network.named_buffers() if "var" in b[0])
            buffer[-1] = value
        else:
            optimizer.state[parameter]["exp_avg_sq"].view(-1)[-1] = value
            name = f"exp_avg_sq of {name}"
    with pytest.raises(TrialFailed, match=re.escape(f"the first is {name!r}")):
        trial.require_finite()


def test_a_checkpoint_that_holds_a_nan_is_not_resumed_from_as_if_it_were_sound(run: Run) -> None:
    trained(run, "t", replace(TINY, epochs=1), nothing)
    folder = run.trial("t")
    state = last_state(folder)
    next(iter(state["network"].values()))[:] = nan
    checkpoint.save_latest(folder.path, 1, state)
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    assert "no longer finite" in folder.ending().reason


def broken_on_one(rank: int, world: int, meeting: str, run: Path) -> None:
    """Break the statistics of rank 1 alone; each rank notes what it raises."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    trial = Trial(task_of(Run(run), "t", replace(TINY, model=NORMED)), CPU)
    if rank == 1:
        next(b for n, b in trial.learner.network.named_buffers() if "var" in n)[0] = nan
    try:
        require_finite(trial.learner.network, trial.learner.optimizer, trial.ranks)
    except TrialFailed as error:
        write_json(Path(f"{meeting}.{rank}"), str(error))
    trial = Trial(task_of(Run(run), "u", OVERSHOT), CPU)
    try:
        trial.run_epoch()
    except Diverged as error:
        write_json(Path(f"{meeting}.{rank}.loss"), str(error))
    dist.destroy_process_group()


def test_all_ranks_refuse_what_is_broken_on_one(run: Run, tmp_path: Path) -> None:
    meeting = str(tmp_path / "meeting")
    mp.spawn(broken_on_one, (2, meeting, run.path), nprocs=2)
    first, second = (read_json(Path(f"{meeting}.{rank}")) for rank in (0, 1))
    assert first == second and "running_var" in first
    first, second = (read_json(Path(f"{meeting}.{rank}.loss")) for rank in (0, 1))
    number, slices = AT_STEP.fullmatch(first), AT_STEP.fullmatch(second)
    assert number and slices and number["step"] == slices["step"]
    assert number["slices"] != slices["slices"], "each names its share of the batch"


def test_the_batch_whose_loss_was_no_number_is_named(run: Run) -> None:
    trial = Trial(task_of(run, "t", OVERSHOT), CPU)
    with pytest.raises(Diverged) as error:
        trial.run_epoch()
    broken = AT_STEP.fullmatch(str(error.value))
    assert broken
    shares = [batch.rows.tolist() for batch in trial.data.training_batches(0, trial.ranks)]
    names = ", ".join(trial.data.name(row) for row in shares[int(broken["step"])])
    assert broken["slices"] == names and 0 < int(broken["step"]) < len(shares) - 1
