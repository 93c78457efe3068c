"""Studies whose truth is known: the Dice of configurations on patients, over seeds and folds.

Dice is the logistic function of

    patient + configuration x patient + training set + seed + rest

and 0 where the configuration fails on the patient. One patient in eight is hard. Over patients,
Dice has a mean of 0.83, quartiles of 0.81 and 0.93, and a 5 % quantile of 0.43, as U-Nets have on
LGG MRI. A patient's own difference between two configurations has Student's distribution with 5
degrees of freedom, and a standard deviation of 0.07 Dice.

The truth is over new patients and new trainings: many patients, each scored by a training of its
own.

Shapes: C configurations, S seeds, P patients.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# On the scale of the logistic function; where a Dice is typical, 0.1 there is about 0.01 Dice.
OWN, REST = 0.38, 0.3
NOISE = {"quiet": 0.08, "noisy": 0.18}  # of a training; 0.012 and 0.030 Dice of a difference
SHARED, LASTING = 0.5, 0.5  # shares of failures: common to all configurations, to all seeds
MANY = 400_000


@dataclass(frozen=True, kw_only=True)
class World:
    """What studies are drawn from.

    Attributes:
        noise: of all configurations, or of each.
        gains: what is added to each configuration, on the scale of the logistic function.
        failures: each configuration's share of patients on which it fails.
        sets: the spread of what a training set brings, as a share of a seed's.
        anew: whether the folds are cut anew for each seed.
    """

    patients: int = 110
    folds: int = 5
    seeds: int = 2
    noise: str | tuple[str, ...] = "quiet"
    sets: float = 1.0
    anew: bool = True
    gains: tuple[float, ...] = (0.0, 0.0)
    failures: tuple[float, ...] = (0.0, 0.0)

    @property
    def spread_C(self) -> Floats:
        """The standard deviation of a training, on the scale of the logistic function."""
        count = len(self.gains)
        names = (self.noise,) * count if isinstance(self.noise, str) else self.noise
        return np.array([NOISE[name] for name in names])


@dataclass(frozen=True, kw_only=True)
class Persons:
    """What lasts over trainings of each patient."""

    logit_CP: Floats
    fails_CP: NDArray[np.bool_]

    def and_others(self, others: "Persons") -> "Persons":
        return Persons(
            logit_CP=np.concatenate([self.logit_CP, others.logit_CP], axis=1),
            fails_CP=np.concatenate([self.fails_CP, others.fails_CP], axis=1),
        )


def study(rng: Generator, world: World) -> tuple[Floats, NDArray[np.int64]]:
    """The Dice of one study (C, S, P), and each patient's fold under each seed (S, P)."""
    return scored(rng, world, persons(rng, world))


def persons(rng: Generator, world: World) -> Persons:
    """New patients, as many as the world says; some are hard, and some fail with every seed."""
    patients, shape = world.patients, (len(world.gains), world.patients)
    hard_P = rng.random(patients) < 0.125
    easy_P, low_P = rng.normal(2.17, 0.62, patients), rng.normal(0.1, 1.1, patients)
    own_CP = OWN * rng.standard_t(5, shape) / np.sqrt(5 / 3)
    gain_C = np.array(world.gains)[:, None]
    least = min(world.failures)
    common_P = rng.random(patients) < SHARED * least
    lasting_CP = rng.random(shape) < LASTING * (np.array(world.failures)[:, None] - SHARED * least)
    return Persons(
        logit_CP=gain_C + np.where(hard_P, low_P, easy_P) + own_CP, fails_CP=common_P | lasting_CP
    )


def scored(rng: Generator, world: World, of: Persons) -> tuple[Floats, NDArray[np.int64]]:
    """The Dice of these patients by new trainings, and their folds, see ``study``."""
    count, patients = of.logit_CP.shape
    folds_P = np.arange(patients) % world.folds
    fold_SP = np.stack([rng.permutation(folds_P) for _ in range(world.seeds)])
    if not world.anew:
        fold_SP[:] = fold_SP[0]
    spread_C = world.spread_C / np.sqrt(1 + world.sets**2)
    luck_CSF = rng.standard_normal((count, world.seeds, world.folds))
    set_CSF = world.sets * rng.standard_normal((count, world.seeds, world.folds))
    if not world.anew:
        set_CSF[:] = set_CSF[:, :1]
    training_CSF = spread_C[:, None, None] * (luck_CSF + set_CSF)
    fold_CSP = np.broadcast_to(fold_SP, (count, *fold_SP.shape))
    return _dice(rng, world, of, np.take_along_axis(training_CSF, fold_CSP, 2)), fold_SP


def truth(world: World) -> Floats:
    """The true mean Dice of each configuration (C); only gains, failures and noise matter to it."""
    return _truth(World(noise=world.noise, gains=world.gains, failures=world.failures))


@cache
def _truth(world: World) -> Floats:
    rng = np.random.default_rng(12345)
    many = persons(rng, replace(world, patients=MANY))
    training_CSP = world.spread_C[:, None, None] * rng.standard_normal((len(world.gains), 1, MANY))
    return _dice(rng, world, many, training_CSP).mean((1, 2))


def _dice(rng: Generator, world: World, of: Persons, training_CSP: Floats) -> Floats:
    rest_CSP = REST * rng.standard_normal(training_CSP.shape)
    dice_CSP = 1 / (1 + np.exp(-of.logit_CP[:, None] - training_CSP - rest_CSP))
    own_C = np.array(world.failures)[:, None, None] - SHARED * min(world.failures)
    passing_CSP = rng.random(training_CSP.shape) < (1 - LASTING) * own_C
    return np.asarray(np.where(of.fails_CP[:, None] | passing_CSP, 0.0, dice_CSP), np.float64)
