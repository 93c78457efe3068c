"""How long until a trial trains: in a process that has trained, as two workers, in a whole sweep?

Run    python -m benchmarks.start_up [--quick] [--rounds 2]
Gives  seconds from the end of a trial to the first step of the next in the same process, without
       building the network; seconds to the first step of a trial of two workers; and how long a
       sweep of 8 trials takes over one bare Optuna process with two threads, and over plain Ray
       Tune with a process a trial, in wall clock and in CPU time of all processes. Five minutes on
       two idle cores; with --quick the first figure alone, in 30 s.

Whole programs take turns, imports and Ray's start included. All three train the same networks with
the same functions on the same batches; the two baselines keep nothing on disk. A trial's first step
is where it writes its ``begins.jsonl``, its end where it writes its costs last.
"""

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.claims import Claim, ratios, taking_turns
from brainseg.config.hyperparameters import Augmentation, Encoder, First, Plain, TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Split, Sweep
from brainseg.data.phantom import write_phantoms
from brainseg.process import environment
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir

TRIALS = 8
TINY = TrialConfig(
    model=Plain(width=8, depth=3),
    augment=Augmentation(),
    image_size=64,
    batch_size=8,
    epochs=3,
    precision="float32",
)
RESNET = TrialConfig(
    model=Encoder(name="resnet18", weights="none", freeze=First(blocks=2)),
    image_size=64,
    batch_size=8,
    epochs=1,
)
RATES = tuple(1e-3 * (1 + k / TRIALS) for k in range(TRIALS))
SUBREAPER = 36  # of prctl: orphans of children become ours, and so does their CPU time
GONE_SECONDS = 30.0  # for what a program leaves behind to end


def sweep_of(config: TrialConfig, trials: int) -> Sweep:
    return Sweep(
        name="start",
        question="How long does it take until a trial trains?",
        space=Space(config, search=()),
        first=tuple({"optimizer.adamw.lr": rate} for rate in RATES[:trials]),
        strategy=Points(),
        split=Split(validation=0.3, test=0.0),
    )


def run_sweep(which: str, data: str, storage: str, *words: str) -> None:
    """A program: the sweep of ``which``, as a user starts it."""
    from brainseg.cli.main import run

    config, trials = {"tiny": (TINY, TRIALS), "resnet": (RESNET, 4), "pair": (TINY, 2)}[which]
    options = [f"--data={data}", f"--storage={storage}", "--wandb=off", *words]
    run(sweep_of(config, trials), options)


def train_plainly(lr: float | str, data: str) -> float:
    """A plain loop on one core, nothing kept; the share of validation pixels found, at the end."""
    import numpy as np
    import torch

    from brainseg.data.formats.detect import find_slices
    from brainseg.data.pack.store import open_pack
    from brainseg.data.pipeline.normalise import scaling
    from brainseg.data.splits.draw import split_by_patient
    from brainseg.models.network import build_network
    from brainseg.training.losses import pixel_sums, soft_dice

    torch.set_num_threads(1)
    table = find_slices(Path(data))
    pack = open_pack(table, Path(data), image_size=TINY.image_size)
    levels_NC3 = scaling(pack.histograms_NC256, table["patient"].tolist(), TINY.normalise)
    part = split_by_patient(table, validation=0.3, test=0.0)
    rows, scored = (np.flatnonzero(part == name) for name in ("train", "validation"))
    network = build_network(TINY.model, 3, TINY.image_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=float(lr))
    random = np.random.default_rng(0)

    def sums(rows_B: np.ndarray) -> torch.Tensor:
        image_BCHW = torch.from_numpy(pack.images_NHWC[rows_B]).permute(0, 3, 1, 2)
        logits_BHW = network(image_BCHW, torch.from_numpy(levels_NC3[rows_B]))
        return pixel_sums(logits_BHW, torch.from_numpy(pack.masks_NHW[rows_B]))

    dice = 0.0
    for _ in range(TINY.epochs):
        network.train()
        for rows_B in np.array_split(random.permutation(rows), len(rows) // TINY.batch_size):
            loss = soft_dice(sums(rows_B), smooth=1.0)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            dice = 1 - soft_dice(sums(scored), smooth=1.0).item()
    return dice


def run_optuna(data: str) -> None:
    """A program: one process of Optuna, two threads."""
    import optuna

    study = optuna.create_study(direction="maximize")
    for rate in RATES:
        study.enqueue_trial({"lr": rate})
    study.optimize(
        lambda trial: train_plainly(trial.suggest_float("lr", 1e-4, 1e-2, log=True), data),
        n_trials=TRIALS,
        n_jobs=2,
    )


def run_tune(data: str, storage: str) -> None:
    """A program: Ray Tune as its documentation shows it, a process a trial."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        from benchmarks.start_up import train_plainly

        tune.report({"dice": train_plainly(config["lr"], data)})

    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"lr": tune.grid_search(list(RATES))},
        tune_config=tune.TuneConfig(metric="dice", mode="max"),
        run_config=tune.RunConfig(storage_path=storage, verbose=0),
    ).fit()


def program(name: object, *words: object) -> tuple[float, float]:
    """Wall and CPU seconds of a program of this file, with all that it started."""
    command = f"from benchmarks import start_up; start_up.{name}(*{[str(w) for w in words]!r})"
    before, begin = _cpu_of_children(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    wall = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    _reap_orphans()
    return wall, _cpu_of_children() - before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap_orphans() -> None:
    """Wait until all that a program left behind has ended."""
    deadline = time.monotonic() + GONE_SECONDS
    with suppress(ChildProcessError):  # none is left
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.05)


def _is_written(path: Path) -> float:
    return path.stat().st_mtime_ns / 1e9


def gaps(run: Run) -> list[float]:
    """Seconds from a trial's end to the first step of the next one in the same process."""
    by_process: dict[int, list[TrialDir]] = {}
    folders = [run.trial(record.trial) for record in run.trials()]
    for folder in sorted(folders, key=lambda folder: _is_written(folder.starts)):
        by_process.setdefault(_process(folder), []).append(folder)
    return [
        _is_written(after.starts) - _is_written(before.costs_path)
        for trials in by_process.values()
        for before, after in pairwise(trials)
    ]


def _process(folder: TrialDir) -> int:
    starts = [line for line in read_lines(folder.starts) if "workers" in line]
    process: int = starts[-1]["workers"][0]["process"]
    return process


def building_seconds() -> float:
    """To build the network of the trials of ``gaps``, when the process has built one before."""
    import torch

    from brainseg.models.network import build_network

    torch.set_num_threads(1)
    work = {"build": lambda: build_network(RESNET.model, 3, RESNET.image_size)}
    return median(taking_turns(work, 4)["build"][1:])


def next_trial(data: Path, storage: Path) -> Claim:
    program("run_sweep", "resnet", data, storage, "--concurrent=1")
    building = building_seconds()
    return Claim(
        what="from a trial's end to the next one's first step, without building its network",
        values=[gap - building for gap in gaps(Run(storage / "start"))],
        unit="s",
        limit=0.5,
        better="lower",
    )


def two_workers(data: Path, storage: Path) -> list[Claim]:
    """To the first step of the first trial of two workers, and of the second."""
    program("run_sweep", "pair", data, storage, "--workers=2")
    run = Run(storage / "start")
    first, second = (run.trial(record.trial) for record in run.trials())
    begins = [datetime.fromisoformat(run.drivers()[0]["time"]).timestamp(), _is_written(first.last)]
    seconds = [_is_written(f.starts) - at for f, at in zip((first, second), begins, strict=True)]
    what = "to the first step of a trial of two workers"
    return [
        Claim(what=f"{what}, the {nth}", values=[value], unit="s", limit=10, better="lower")
        for nth, value in zip(("first of a sweep", "second"), seconds, strict=True)
    ]


def whole_sweeps(data: Path, folder: Path, rounds: int) -> list[Claim]:
    """A sweep of 8 trials over the two baselines, wall clock and CPU time."""
    spent: dict[str, list[tuple[float, float]]] = {"ours": [], "optuna": [], "tune": []}
    program("train_plainly", RATES[0], data)  # packs the slices
    for turn in range(rounds):
        words = {
            "ours": ("run_sweep", "tiny", data, folder / f"ours-{turn}"),
            "optuna": ("run_optuna", data),
            "tune": ("run_tune", data, folder / f"tune-{turn}"),
        }
        names = list(words)
        for name in names[turn % 3 :] + names[: turn % 3]:
            spent[name].append(program(*words[name]))
            print(f"{name}: {spent[name][-1][0]:.1f} s, {spent[name][-1][1]:.1f} CPU s", flush=True)
    claims = []
    for baseline, words, limit in (
        ("optuna", "one Optuna process with two threads", 1.4),
        ("tune", "Ray Tune with a process a trial", 0.5),
    ):
        for k, clock in enumerate(("", ", CPU time")):
            ours, theirs = ([pair[k] for pair in spent[name]] for name in ("ours", baseline))
            claims.append(
                Claim(
                    what=f"a sweep of {TRIALS} tiny trials{clock}",
                    values=ratios(ours, theirs),
                    baseline=words,
                    limit=None if clock else limit,
                    better="lower",
                )
            )
    return claims


def claims(quick: bool, rounds: int = 2) -> list[Claim]:
    """The gap between trials; unless ``quick``, two workers and whole sweeps as well."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as name, environment(BRAINSEG_CACHE=f"{name}/cache"):
        folder = Path(name)
        data = write_phantoms(folder / "data", patients=10, slices=16, size=64)
        result = [next_trial(data, folder / "next")]
        if not quick:
            result += two_workers(data, folder / "pair")
            result += whole_sweeps(data, folder, rounds)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the first figure alone")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args(argv)
    for claim in claims(args.quick, args.rounds):
        print(claim)


if __name__ == "__main__":
    main()
