"""What does a search find for its device-seconds, against random search? Simulated, not trained.

Run    python -m benchmarks.search_efficiency [--seeds 50] [--jobs 2] [--csv FILE]
       python -m benchmarks.search_efficiency --start-epochs 12      (start-up as on a cluster)
Gives  two tables for each budget: the regret at its end, the share of random search's
       device-seconds that each method needs to reach random search's final regret, and how often it
       never does. 15 minutes on one free core.

Each seed is a world of its own, drawn from what recorded curves leave open (curve_simulator.py).
Regret is the true Dice of the world's best configuration minus that of the configuration that the
sweep would name as its best. It judges by its noisy observations of the trials that are done: in
one table by the highest Dice of any epoch, in the other by halving.smoothed_best. A column more
has the regret at the budget's end where gaussian_process.posterior_mean names it. Random search's
final Dice in a world is the mean of REPEATS sweeps. Budgets are in whole trainings of the mean
configuration. Intervals: 95 %, percentile bootstrap over seeds.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator

from benchmarks.curve_simulator import Truth, draw_truth, recorded
from benchmarks.search_methods import AWARE, METHODS, observations
from benchmarks.simulated_sweep import Path as ValuePath
from benchmarks.simulated_sweep import Sweep, Trial, run
from brainseg.config.distributions import Choice, Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.search.proposals.encoding import SpaceEncoder
from brainseg.search.proposals.gaussian_process import posterior_mean

BUDGETS = {"small": 20, "large": 100}
Row = dict[str, object]
RULES = {"the highest Dice of any epoch": 1, "the mean of the best fifth of the epochs": 2}
RIVALS = (
    "TPE + ASHA as Ray reports it",
    "TPE by rungs + promotion",
    "random",
)  # the 2nd is the default
SHARES = np.arange(1, 101) / 100  # of a budget
REPEATS, RESAMPLES, EPOCHS = 6, 1000, 30
SPACE = Space(
    TrialConfig(epochs=EPOCHS),
    search=(
        *("model", "model.encoder.name", "model.encoder.freeze*", "optimizer.adamw.lr"),
        *("schedule", "schedule.*.cycle_epochs"),
    ),
    narrow={"schedule": Choice("cosine", "onecycle", "triangular", "constant")},
)
SEARCHED = replace(SPACE, search=(*SPACE.search, "epochs"))


def length(point: Params) -> int:
    return int(point.get("epochs", EPOCHS))


def best_of(truth: Truth, space: Space[TrialConfig], rng: Generator) -> tuple[float, float]:
    """The highest true Dice in the space, by dense sampling, and a mean trial's device-seconds."""
    tree = SpaceEncoder(space)
    codes = tree.draw(3000, rng)
    quality, cost = _worth(truth, tree, codes)
    whole = float(cost.mean())
    for _ in range(3):
        near = tree.near(codes[np.repeat(np.argsort(-quality)[:30], 10)], rng)
        codes = np.concatenate([codes, near])
        quality = np.append(quality, _worth(truth, tree, near)[0])
    return float(quality.max()), whole


def _worth(truth: Truth, tree: SpaceEncoder, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = [tree.point(row) for row in codes]
    lengths = np.array([length(point) for point in points])
    quality = np.empty(len(points))
    for epochs in set(lengths.tolist()):
        chosen = np.flatnonzero(lengths == epochs)
        quality[chosen] = truth.quality([points[i] for i in chosen], epochs)
    return quality, truth.seconds(points) * lengths


def world(seed: int, *, start_epochs: float, workers: int, searched: bool) -> list[Row]:
    """Every method's sweeps in one world: a row a method, budget and naming rule."""
    space = SEARCHED if searched else SPACE
    rng = np.random.default_rng([seed, 1])
    truth = draw_truth(recorded(), rng)
    best, whole = best_of(truth, space, rng)
    start = whole * start_epochs / EPOCHS

    def sweep(name: str, trainings: float, repeat: int = 0) -> tuple[ValuePath, Sweep, float]:
        rng = np.random.default_rng([seed, 2, repeat])
        budget, began = trainings * (whole + start), time.process_time()
        path, ended = run(
            METHODS[name](space, rng),
            truth,
            budget=budget,
            workers=workers,
            start_seconds=start,
            epochs=length,
            rng=rng,
        )
        spent = 1000 * (time.process_time() - began) / len(ended.trials)
        return [(t / (whole + start), *named) for t, *named in path], ended, spent

    rows: list[Row] = []
    for budget, trainings in BUDGETS.items():
        repeats = [sweep("random", trainings, 1 + repeat)[0] for repeat in range(REPEATS)]
        for name in METHODS:
            path, ended, spent = sweep(name, trainings)
            quarter = sweep(name, trainings / 4)[0] if name in AWARE else path
            modelled = named_by_model(space, ended)
            about: Row = {"seed": seed, "method": name, "budget": budget, "milliseconds": spent}
            about["trials"] = len(ended.trials)
            about["done"] = sum(trial.state == "done" for trial in ended.trials)
            about["modelled"] = best - truth.quality([modelled.params], modelled.epochs)[0]
            for rule, column in RULES.items():
                target = np.mean([value(p, trainings, column) for p in repeats])
                row: Row = {**about, "rule": rule, "target": best - target}
                row["regret"] = best - value(path, trainings, column)
                row["quarter"] = best - value(quarter, trainings / 4, column)
                row["never"] = not any(named[column] >= target for named in path)
                row |= {f"at {s:.2f}": best - value(path, s * trainings, column) for s in SHARES}
                rows.append(row)
    return rows


def named_by_model(space: Space[TrialConfig], sweep: Sweep) -> Trial:
    """Of the trials that are done the one that gaussian_process.posterior_mean puts first."""
    means = posterior_mean(space, observations(sweep))
    done = [trial for trial in sweep.trials if trial.state == "done"] or sweep.trials
    return max(done, key=lambda trial: float(means[trial.number]))


def value(path: ValuePath, spent: float, column: int) -> float:
    """The true Dice of what would be named after so many trainings; 0 before there is any."""
    return next((row[column] for row in reversed(path) if row[0] <= spent), 0.0)


def table(rows: pd.DataFrame, rng: Generator) -> str:
    """A line a method, of one budget and one naming rule."""
    seeds = rows["seed"].nunique()
    picks = rng.integers(seeds, size=(RESAMPLES, seeds))
    lines = [
        "| method | regret | named by the model | at a quarter of the budget "
        "| random's cost over its own | never as good | trials started, done "
        "| ms of search a trial |",
        "|---|---|---|---|---|---|---|---|",
    ]
    curves = [f"at {s:.2f}" for s in SHARES]
    for name in METHODS:
        of_method = rows[rows["method"] == name].sort_values("seed")
        regret, target = of_method["regret"].to_numpy(), of_method["target"].to_numpy()
        curve = of_method[curves].to_numpy()
        low, high = np.quantile(regret[picks].mean(1), [0.025, 0.975])
        ratios = [ratio(curve[p].mean(0), target[p].mean()) for p in picks]
        fewest, most = np.quantile(ratios, [0.025, 0.975])
        lines.append(
            f"| {name} | {regret.mean():.4f} ({low:.4f} to {high:.4f}) "
            f"| {of_method['modelled'].mean():.4f} | {of_method['quarter'].mean():.4f} "
            f"| {ratio(curve.mean(0), target.mean()):.1f} ({fewest:.1f} to {most:.1f}) "
            f"| {100 * of_method['never'].mean():.0f} % "
            f"| {of_method['trials'].mean():.0f}, {of_method['done'].mean():.0f} "
            f"| {of_method['milliseconds'].mean():.0f} |"
        )
    return "\n".join(lines)


def ratio(curve: np.ndarray, target: float) -> float:
    """How many times cheaper the target is reached than at the budget's end; 0 if it never is."""
    reached = np.flatnonzero(curve <= target)
    return float(1 / SHARES[reached[0]]) if len(reached) else 0.0


def goals(rows: pd.DataFrame, rng: Generator) -> str:
    """The goals of ours, for each budget, and what it reaches; both named by the same rule."""
    lines = []
    for budget in BUDGETS:
        for rule in RULES:
            part = rows[(rows["budget"] == budget) & (rows["rule"] == rule)]
            mine = part[part["method"] == "ours"]
            lines.append(
                f"{budget}, by {rule}: with a quarter of the budget {mine['quarter'].mean():.4f} "
                f"against random's final {mine['target'].mean():.4f}; never as good in "
                f"{100 * mine['never'].mean():.0f} % of the seeds"
            )
            lines += [f"  regret {_against(part, name, 'regret', rng)}" for name in RIVALS]
        by_model = part.drop_duplicates(["seed", "method"])
        lines.append(f"{budget}, all named by the model:")
        lines += [f"  regret {_against(by_model, name, 'modelled', rng)}" for name in RIVALS]
    return "\n".join(lines)


def _against(part: pd.DataFrame, rival: str, regret: str, rng: Generator) -> str:
    """Our regret over a rival's, and the difference over the same worlds with its interval."""
    worlds = part.pivot(index="seed", columns="method", values=regret)
    ours, theirs = worlds["ours"].to_numpy(), worlds[rival].to_numpy()
    picks = rng.integers(len(ours), size=(RESAMPLES, len(ours)))
    low, high = np.quantile((ours - theirs)[picks].mean(1), [0.025, 0.975])
    gap = (ours - theirs).mean()
    return (
        f"{ours.mean() / theirs.mean():.2f} of that of {rival} "
        f"(less it: {gap:+.4f}, 95 % {low:+.4f} to {high:+.4f})"
    )


def simulated(args: argparse.Namespace) -> pd.DataFrame:
    of_seed = partial(
        world, start_epochs=args.start_epochs, workers=args.workers, searched=args.searched_epochs
    )
    seeds = range(args.first, args.first + args.seeds)
    if args.jobs == 1:
        return pd.DataFrame([row for seed in seeds for row in of_seed(seed)])
    with ProcessPoolExecutor(args.jobs) as pool:
        return pd.DataFrame([row for rows in pool.map(of_seed, seeds) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="trials at once")
    parser.add_argument("--start-epochs", type=float, default=1.0)
    parser.add_argument("--searched-epochs", action="store_true", help="epochs 10 to 100, not 30")
    parser.add_argument("--first", type=int, default=0, help="number of the first seed")
    parser.add_argument("--csv", type=Path, help="write a row a seed, method, budget and rule")
    parser.add_argument("--read", type=Path, nargs="+", help="such files; nothing is simulated")
    args = parser.parse_args()
    rows = pd.concat(map(pd.read_csv, args.read)) if args.read else simulated(args)
    if args.csv:
        rows.to_csv(args.csv, index=False)
    rng = np.random.default_rng(0)
    for budget, trainings in BUDGETS.items():
        for rule in RULES:
            part = rows[(rows["budget"] == budget) & (rows["rule"] == rule)]
            target = part["target"].mean()
            print(
                f"\nBudget of {trainings} trainings, named by {rule}; random ends at {target:.4f}\n"
            )
            print(table(part, rng))
    print(f"\n{goals(rows, rng)}")


if __name__ == "__main__":
    main()
