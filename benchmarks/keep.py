"""What keeping costs a trial of ResNet50 whose epochs take two seconds, on the training thread.

    python -m benchmarks.keep           some four minutes
    python -m benchmarks.keep --quick   half a minute

A real ``TrialKeeper`` writes to a folder of this machine, with AdamW's moments; only the epoch is
made up: it sleeps for two seconds, as a processor that waits for its GPU does, or it computes for
two seconds, as one that trains does. Every third epoch is the best so far. The baseline is the same
keeper with a checkpoint after each epoch that is awaited, as each epoch was kept before.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.claims import Claim, ratios, taking_turns
from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.data.phantom import write_phantoms
from brainseg.records.checkpoint_index import sha256, write_index
from brainseg.training.keeping import checkpoint
from brainseg.training.schedules import Setting
from brainseg.training.trial import Trial
from tests.support.tasks import task_of
from tests.support.trials import run_of

EPOCH_SECONDS = 2.0
CPU = torch.device("cpu")
CONFIG = TrialConfig(
    model=Encoder(name="resnet50", weights="none"),
    image_size=32,
    batch_size=8,
    epochs=10**6,
    precision="float32",
)
BEST_EVERY = 3  # epochs
LIMIT_PERCENT = 3.0
MOST_SLOWER = 1.1  # to resume: files of one format, apart from noise


def sleeping() -> None:
    """The processor waits for a GPU."""
    time.sleep(EPOCH_SECONDS)


def computing() -> None:
    """The processor trains: it multiplies matrices on all its cores."""
    square = torch.rand(256, 256)
    end = time.monotonic() + EPOCH_SECONDS
    while time.monotonic() < end:
        square = torch.tanh(square @ square)


@contextmanager
def trial_of(folder: Path, name: str, *, every: float | None) -> Iterator[Trial]:
    """A trial that has taken its first steps, so that the optimizer has its moments."""
    data = folder / "data"
    if not data.exists():
        write_phantoms(data, patients=4, slices=4, size=32)
    trial = Trial(task_of(run_of(data, folder / name), "t", CONFIG, checkpoint_every=every), CPU)
    trial.restore()
    trial.run_epoch()
    trial.keeper.saves.flush()
    try:
        yield trial
    finally:
        trial.keeper.saves.close()


def kept_percent(trial: Trial, epoch: Callable[[], None], epochs: int, *, awaited: bool) -> float:
    """Of the made-up epochs' time, what the training thread spent in the keeper."""
    validation, setting, seconds = trial.validate(), Setting(lr=1e-3, momentum=0.9), 0.0
    for number in range(trial.epoch + 1, trial.epoch + epochs + 1):
        epoch()
        trial.timer.charge("train")
        trial.keeper.best_dice = -1.0 if number % BEST_EVERY == 0 else 1.0  # of at most 1
        before = time.monotonic()
        trial.keeper.save_epoch(number, 0.5, validation, setting)
        if awaited:
            trial.keeper.saves.flush()
        trial.keeper.note_costs(number)
        seconds += time.monotonic() - before
    trial.epoch += epochs
    return 100 * seconds / (epochs * EPOCH_SECONDS)


def shares(folder: Path, *, quick: bool) -> list[Claim]:
    """The share of an epoch that the training thread spends in the keeper."""
    rounds, epochs = (1, 4) if quick else (3, 15)
    ours: dict[str, list[float]] = {"sleeping": [], "computing": []}
    before: list[float] = []
    with trial_of(folder, "new", every=None) as new, trial_of(folder, "old", every=0.0) as old:
        for _ in range(rounds):
            new.keeper.saves.competes = False  # as beside a GPU
            ours["sleeping"].append(kept_percent(new, sleeping, epochs, awaited=False))
            before.append(kept_percent(old, lambda: None, BEST_EVERY, awaited=True))
            new.keeper.saves.competes = True
            ours["computing"].append(kept_percent(new, computing, epochs, awaited=False))
    was = f"{sorted(before)[len(before) // 2]:.0f} % where each epoch is saved and awaited"
    return [
        Claim(
            what=f"keeping, of an epoch of ResNet50 of {EPOCH_SECONDS:g} s, {kind}",
            values=values,
            unit="%",
            baseline=was,
            limit=LIMIT_PERCENT,
            better="lower",
        )
        for kind, values in (
            ("beside a GPU", ours["sleeping"]),
            ("on a CPU that trains", ours["computing"]),
        )
    ]


def resuming(folder: Path, *, quick: bool) -> Claim:
    """To read the newest checkpoint, as it is written now and as it was."""
    with trial_of(folder, "resumed", every=0.0) as trial:
        state = {**trial.learner.state(), "epoch": 1}
    now, then = folder / "now", folder / "then"
    for path in (now, then):
        path.mkdir()
    checkpoint.save_latest(now, 1, state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (then / "latest-0001.pt").write_bytes(buffer.getbuffer())
    write_index(then, {"latest-0001.pt": sha256(buffer.getbuffer())})
    works = {"now": lambda: checkpoint.newest(now), "then": lambda: checkpoint.newest(then)}
    seconds = taking_turns(works, rounds=2 if quick else 7)
    return Claim(
        what="reading the checkpoint that a trial of ResNet50 resumes from",
        values=ratios(seconds["now"], seconds["then"]),
        baseline="one written from a copy in memory",
        limit=MOST_SLOWER,
        better="lower",
    )


def claims(quick: bool) -> list[Claim]:
    """That keeping costs little, and resuming no more than it did."""
    with tempfile.TemporaryDirectory(prefix="keep") as name:
        return [*shares(Path(name), quick=quick), resuming(Path(name), quick=quick)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    for claim in claims(parser.parse_args().quick):
        print(claim)


if __name__ == "__main__":
    main()
