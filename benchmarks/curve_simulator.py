"""Simulated learning curves: a model of the recorded ones, from which truths are drawn.

A truth says for every configuration how its validation Dice grows, what an epoch costs, and how
much of it is chance. It is fitted to benchmarks/curves.csv (see record_curves.py): the curves
are resampled, every effect is pulled towards a centre that is itself drawn from a prior, and the
fit is repeated; so fifty truths differ by as much as the records leave open, and an encoder that
was never recorded gets an effect of its own each time. Where there are no records, the priors
below decide; they are assumptions.

The Dice after epoch e is sigmoid(plateau) * grown * (1 - loss by the rate) + noise:
    plateau   encoder, pretraining, frozen share, and a parabola in log10 of the learning rate
    grown     1 - exp(-u / speed), u the epochs passed, those at a low rate counting less
    loss      in proportion to the height of the schedule at that epoch (schedules.py): an annealed
              schedule gains late, a triangular one goes up and down with its cycle
    noise     of the trial (its seed), and from epoch to epoch, correlated, larger at a high rate;
              single epochs that fall near zero; and collapse: zero from some epoch to the end

Shapes: N configurations, R recorded epochs, Q effects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import (
    ENCODERS,
    Constant,
    Cosine,
    OneCycle,
    ScheduleConfig,
    Triangular,
)
from brainseg.training.schedules import build_schedule

Floats = NDArray[np.float64]

TABLE = Path(__file__).with_name("curves.csv")
MODELS = ("plain", *map(str, ENCODERS.options))
SCHEDULES: dict[str, ScheduleConfig] = {
    "constant": Constant(),
    "cosine": Cosine(),
    "onecycle": OneCycle(),
}

# name of the effect: (centre, standard deviation) of its prior; logits of Dice, unless named.
COMMON: dict[str, tuple[float, float]] = {
    "plateau": (0.8, 0.5),
    "pretrained": (0.3, 0.3),
    "frozen": (-0.5, 0.4),  # all of the encoder, random weights
    "frozen_pretrained": (-0.3, 0.3),
    "gradual": (0.0, 0.2),
    "cyclical": (0.0, 0.15),
    "optimum": (-3.0, 0.3),  # log10 of the best learning rate
    "log_curvature": (np.log(0.5), 0.4),  # logits lost a squared decade away from it
    "log_speed": (np.log(4.0), 0.4),  # epochs
    "speed_pretrained": (-0.4, 0.3),
    "speed_rate": (-0.5, 0.3),  # a decade of learning rate
    "log_loss": (np.log(0.12), 0.4),  # share of Dice lost at the peak of the best learning rate
}
OF_MODEL: dict[str, tuple[float, float]] = {
    "plateau": (0.0, 0.3),
    "pretrained": (0.0, 0.15),
    "frozen": (0.0, 0.2),
    "optimum": (0.0, 0.25),
    "log_speed": (0.0, 0.3),
}
SEED = 0.12  # standard deviation of a trial's plateau over seeds
NAMES = [*COMMON, *(f"{name}.{model}" for name in OF_MODEL for model in MODELS)]
CENTRES = np.array([c for c, _ in COMMON.values()] + [0.0] * (len(OF_MODEL) * len(MODELS)))
SPREADS = np.array(
    [s for _, s in COMMON.values()] + [s for _, s in OF_MODEL.values() for _ in MODELS]
)


@dataclass(frozen=True)
class Configs:
    """Configurations as columns, each of shape (N,)."""

    model: NDArray[np.int64]  # index into MODELS
    pretrained: Floats
    frozen: Floats  # share of the encoder
    gradual: Floats
    cyclical: Floats
    rate: Floats  # log10 of the peak learning rate
    heights: Floats  # (N, E) of the schedule in each epoch, 0 to 1

    def take(self, rows: NDArray[np.int64]) -> "Configs":
        return Configs(*(column[rows] for column in vars(self).values()))


def configs(points: Sequence[Mapping[str, object]], epochs: int) -> Configs:
    """Points of a space, or whole configs, as columns; what they leave out is as by default."""
    rows = []
    for point in points:
        encoder = point.get("model", "encoder") == "encoder"
        name = str(point.get("model.encoder.name", "resnet50")) if encoder else "plain"
        weights = point.get("model.encoder.weights", "imagenet")
        freeze = point.get("model.encoder.freeze", "nothing") if encoder else "nothing"
        blocks = point.get("model.encoder.freeze.first.blocks", 2)
        until = point.get("model.encoder.freeze.gradual.until", 0.5)
        share = {"nothing": 0.0, "first": blocks / 5, "whole": 1.0, "gradual": 0.5 * until}[freeze]
        schedule = str(point.get("schedule", "cosine"))
        cycle = int(point.get("schedule.triangular.cycle_epochs", 8))
        rows.append(
            (
                MODELS.index(name),
                float(encoder and weights != "none"),
                share,
                float(freeze == "gradual"),
                float(schedule == "triangular"),
                np.log10(point.get("optimizer.adamw.lr", 1e-3)),
                heights(schedule, cycle, epochs),
            )
        )
    model, *rest = zip(*rows, strict=True)
    return Configs(np.array(model), *(np.array(column, float) for column in rest))


@lru_cache(maxsize=4096)
def heights(schedule: str, cycle: int, epochs: int) -> tuple[float, ...]:
    """How near its peak the rate is at the end of each epoch, 0 to 1."""
    config = SCHEDULES.get(schedule, Triangular(cycle_epochs=cycle))
    steps = 20
    at = build_schedule(config, peak=1.0, momentum=0.9, steps_per_epoch=steps, epochs=epochs)
    return tuple(
        float(np.mean([at(step).lr for step in range(e * steps + steps // 2, (e + 1) * steps)]))
        for e in range(epochs)
    )


def columns(effects: Floats, c: Configs) -> dict[str, Floats]:
    """Each effect of the configurations, the common one and the model's own added up, (N,)."""
    named = dict(zip(NAMES, effects, strict=True))
    effect = {name: np.full(len(c.model), named[name]) for name in COMMON}
    for name in OF_MODEL:
        effect[name] = effect[name] + np.array([named[f"{name}.{m}"] for m in MODELS])[c.model]
    return effect


def levels(effects: Floats, c: Configs, chance: Floats | float = 0.0) -> Floats:
    """Dice without noise after each epoch, (N, E); ``chance``, in logits, is a trial's own."""
    f = columns(effects, c)
    off = c.rate - f["optimum"]
    frozen = np.where(c.pretrained > 0, f["frozen_pretrained"], f["frozen"]) * c.frozen
    plateau = f["plateau"] + f["pretrained"] * c.pretrained + frozen + f["gradual"] * c.gradual
    plateau += f["cyclical"] * c.cyclical - np.exp(f["log_curvature"]) * off**2 + chance
    speed = f["log_speed"] + f["speed_pretrained"] * c.pretrained + f["speed_rate"] * off
    passed = np.cumsum(0.3 + 0.7 * c.heights, axis=1)
    grown = 1 - np.exp(-passed / np.exp(speed)[:, None])
    kept = 1 - np.minimum(np.exp(f["log_loss"] + off / 2), 0.6)[:, None] * c.heights
    dice: Floats = grown * kept / (1 + np.exp(-plateau))[:, None]
    return dice


@dataclass(frozen=True)
class Recorded:
    """What curves.csv holds, a row a trial: (N, E), NaN where nothing was recorded."""

    configs: Configs
    dice: Floats
    seconds: Floats  # (N,), of an epoch

    def __post_init__(self) -> None:
        assert self.dice.shape == self.configs.heights.shape

    def onset(self) -> NDArray[np.int64]:
        """The epoch, from 0, from which each trial is at zero for good; E where it never is."""
        alive = self.dice > 0.02
        epochs = self.dice.shape[1]
        last = np.where(alive.any(1), epochs - 1 - alive[:, ::-1].argmax(1), -1)
        return np.where(epochs - 1 - last >= 4, last + 1, epochs)


def recorded(table: Path = TABLE) -> Recorded:
    rows = pd.read_csv(table)
    epochs = int(rows["epoch"].max())
    points, dice, seconds = [], [], []
    for _, trial in rows.groupby("trial"):
        first = trial.iloc[0]
        points.append(_point(first))
        dice.append(trial.set_index("epoch")["dice"].reindex(range(1, epochs + 1)).to_numpy())
        seconds.append(trial["seconds"].min())
    return Recorded(configs(points, epochs), np.array(dice), np.array(seconds))


def _point(row: "pd.Series[object]") -> dict[str, object]:
    encoder = row["encoder"] != "plain"
    return {
        "model": "encoder" if encoder else "plain",
        "model.encoder.name": row["encoder"],
        "model.encoder.weights": "imagenet" if row["pretrained"] else "none",
        "model.encoder.freeze": row["freeze"],
        "model.encoder.freeze.first.blocks": row["blocks"],
        "model.encoder.freeze.gradual.until": row.get("until", 0.5),
        "schedule": row["schedule"],
        "schedule.triangular.cycle_epochs": row["cycle_epochs"],
        "optimizer.adamw.lr": row["lr"],
    }


def fit_levels(records: Recorded, centres: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Effects and each trial's chance, most probable given the priors, with robust residuals.

    Gauss and Newton's method with reweighting: a residual beyond 0.15 counts as Huber's.
    """
    n, count = len(records.dice), len(centres)
    alive = np.arange(records.dice.shape[1]) < records.onset()[:, None]
    alive &= np.isfinite(records.dice)
    spreads = np.concatenate([SPREADS, np.full(n, SEED)])
    estimate = np.concatenate([centres, np.zeros(n)])

    def model(values: Floats) -> Floats:
        return levels(values[:count], records.configs, values[count:])[alive]

    scale = 0.1 * np.sqrt(2.5)  # residuals of neighbouring epochs say nearly the same
    every = np.broadcast_to(weights[:, None], alive.shape)[alive]
    for _ in range(12):
        now = model(estimate)
        slopes = np.empty((len(now), count + n))
        for i in range(count + n):
            step = np.zeros(count + n)
            step[i] = 1e-4
            slopes[:, i] = (model(estimate + step) - now) / 1e-4
        gap = records.dice[alive] - now
        weight = every / scale**2 * np.minimum(1, 0.15 / np.maximum(np.abs(gap), 1e-9))
        pull = (np.concatenate([centres, np.zeros(n)]) - estimate) / spreads**2
        curvature = slopes.T @ (slopes * weight[:, None]) + np.diag(1 / spreads**2)
        move = np.linalg.solve(curvature, slopes.T @ (weight * gap) + pull)
        estimate = estimate + np.clip(move, -1.5 * spreads, 1.5 * spreads)
    return estimate[:count], estimate[count:]


# Natural logarithm of an epoch's seconds over ResNet-18's under one decoder: rough, from sizes.
COST_CENTRES = {
    **{"plain": 0.6, "vgg16": 1.2, "resnet18": 0.0, "resnet34": 0.3, "resnet50": 0.6},
    **{"densenet121": 0.7, "efficientnet-b0": 0.3, "efficientnet-b3": 0.7},
    **{"mobilenet_v2": 0.0, "mit_b0": -0.3, "mit_b2": 0.8},
}
COST_SPREAD = 0.3


def fit_costs(records: Recorded, weights: Floats, rng: Generator | None) -> Floats:
    """Log seconds of an epoch: of all, of a wholly frozen encoder, and of each of MODELS."""
    table = np.zeros((len(records.seconds), 2 + len(MODELS)))
    table[:, 0], table[:, 1] = 1, records.configs.frozen
    table[np.arange(len(table)), 2 + records.configs.model] = 1
    centres = np.array([2.0, -0.3, *(COST_CENTRES[model] for model in MODELS)])
    spreads = np.array([2.0, 0.2, *(COST_SPREAD for _ in MODELS)])
    if rng is not None:
        centres = centres + spreads * rng.standard_normal(len(centres))
    weight = weights[:, None] / 0.25**2
    curvature = table.T @ (table * weight) + np.diag(1 / spreads**2)
    gap = np.log(records.seconds) - table @ centres
    return centres + np.linalg.solve(curvature, (table * weight).T @ gap)


@dataclass(frozen=True)
class Chance:
    """What is left to chance within a trial, as measured on the records."""

    quiet: float  # standard deviation of an epoch's Dice at the floor of the schedule
    loud: float  # and at its peak
    memory: float  # correlation of neighbouring epochs
    dips: float  # share of epochs, at the peak, that fall by half or more
    collapse: tuple[float, float]  # log of the probability an epoch; its slope a decade of rate


def measure_chance(
    records: Recorded, effects: Floats, chance: Floats, weights: Floats, rng: Generator | None
) -> Chance:
    c, onset = records.configs, records.onset()
    level = levels(effects, c, chance)
    epochs = np.arange(level.shape[1])
    alive = (epochs < onset[:, None]) & np.isfinite(records.dice)
    gap, every = records.dice - level, np.broadcast_to(weights[:, None], level.shape)
    dip = alive & (records.dice < level / 2) & (epochs >= 2)
    calm = alive & ~dip
    table = np.stack([1 - c.heights[calm], c.heights[calm]], 1)
    weight = every[calm][:, None]
    size = np.linalg.solve(table.T @ (table * weight), table.T @ (weight[:, 0] * np.abs(gap[calm])))
    quiet, loud = 1.25 * np.maximum(size, 0.01)  # mean absolute deviation to standard one
    pairs = calm[:, 1:] & calm[:, :-1]
    before, after, w = gap[:, :-1][pairs], gap[:, 1:][pairs], every[:, 1:][pairs]
    memory = float(np.clip((w * before * after).sum() / (w * before**2).sum(), 0, 0.9))
    height = (every * c.heights * alive)[:, 2:].sum()
    dips = float(((every * dip).sum() + 0.5) / (height + 10))
    off = c.rate - columns(effects, c)["optimum"]
    return Chance(quiet, loud, memory, dips, _collapse(records, off, weights, rng))


def _collapse(
    records: Recorded, off: Floats, weights: Floats, rng: Generator | None
) -> tuple[float, float]:
    """Base and slope of the log hazard: the most probable, or one drawn from the posterior."""
    epochs, onset = records.dice.shape[1], records.onset()
    happened = weights * (onset < epochs)
    at_risk = (np.arange(epochs) <= onset[:, None]) * records.configs.heights
    grid = [(base, slope) for base in np.linspace(-8, -2, 25) for slope in np.linspace(0, 4, 17)]
    scores = []
    for base, slope in grid:
        hazard = np.exp(base + slope * off)
        score = (happened * np.log(hazard)).sum() - (weights * hazard * at_risk.sum(1)).sum()
        scores.append(score - ((base + 5) / 1.0) ** 2 / 2 - ((slope - 1.5) / 0.7) ** 2 / 2)
    likely = np.exp(np.array(scores) - max(scores))
    best = (
        int(np.argmax(scores))
        if rng is None
        else int(rng.choice(len(grid), p=likely / likely.sum()))
    )
    return grid[best]


@dataclass(frozen=True)
class Truth:
    """One world: what every configuration is worth, costs, and leaves to chance."""

    effects: Floats
    costs: Floats
    chance: Chance
    start_epochs: float  # what a start or a resume costs, in epochs of the mean configuration

    def quality(self, points: Sequence[Mapping[str, object]], epochs: int) -> Floats:
        """Noise-free Dice at the last epoch that a trial is to be expected to reach: (N,).

        That is the last one planned, or the one before a collapse; its checkpoint is kept.
        """
        c = configs(points, epochs)
        level = np.maximum.accumulate(levels(self.effects, c), axis=1)
        alive = np.exp(-np.cumsum(self._hazards(c), axis=1))
        before = np.concatenate([np.ones((len(level), 1)), alive[:, :-1]], axis=1)
        lost = (before - alive)[:, 1:]  # at an epoch, with the level of the one before
        expected: Floats = alive[:, -1] * level[:, -1] + (lost * level[:, :-1]).sum(1)
        return expected

    def seconds(self, points: Sequence[Mapping[str, object]]) -> Floats:
        """Of an epoch, on one device: (N,)."""
        c = configs(points, 2)
        seconds: Floats = np.exp(self.costs[0] + self.costs[1] * c.frozen + self.costs[2 + c.model])
        return seconds

    def train(self, point: Params, epochs: int, rng: Generator) -> Floats:
        """What one trial would show after each epoch: (E,)."""
        c = configs([point], epochs)
        level = levels(self.effects, c, SEED * rng.standard_normal(1))[0]
        height, chance = c.heights[0], self.chance
        fresh = rng.standard_normal(epochs)
        noise = np.empty(epochs)
        noise[0] = fresh[0]
        for e in range(1, epochs):
            noise[e] = chance.memory * noise[e - 1] + (1 - chance.memory**2) ** 0.5 * fresh[e]
        size = chance.quiet + (chance.loud - chance.quiet) * height
        dice = level + size * np.minimum(1, 2 * level) * noise
        dips = rng.random(epochs) < chance.dips * height
        dice = np.where(dips, dice * 0.5 * rng.random(epochs), dice)
        lost = np.maximum.accumulate(rng.random(epochs) < 1 - np.exp(-self._hazards(c)[0]))
        return np.clip(np.where(lost, 0.0, dice), 0.0, 1.0)

    def _hazards(self, c: Configs) -> Floats:
        base, slope = self.chance.collapse
        off = c.rate - columns(self.effects, c)["optimum"]
        hazards: Floats = np.minimum(np.exp(base + slope * off), 0.5)[:, None] * c.heights
        return hazards


def draw_truth(records: Recorded, rng: Generator, start_epochs: float = 1.0) -> Truth:
    """A world that the records do not rule out."""
    trials = len(records.dice)
    weights = np.bincount(rng.integers(trials, size=trials), minlength=trials).astype(float)
    centres = CENTRES + SPREADS * rng.standard_normal(len(CENTRES))
    effects, chance = fit_levels(records, centres, weights)
    return Truth(
        effects,
        fit_costs(records, weights, rng),
        measure_chance(records, effects, chance, weights, rng),
        start_epochs,
    )
