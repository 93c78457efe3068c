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


def study(rng: Generator, world: World) -> tuple[Floats, NDArray[np.int64]]:
    """The Dice of one study (C, S, P), and each patient's fold under each seed (S, P)."""
    shape = (world.seeds, world.patients)
    folds_P = np.arange(world.patients) % world.folds
    fold_SP = np.stack([rng.permutation(folds_P) for _ in range(world.seeds)])
    if not world.anew:
        fold_SP[:] = fold_SP[0]
    count, spread_C = len(world.gains), world.spread_C / np.sqrt(1 + world.sets**2)
    luck_CSF = rng.standard_normal((count, world.seeds, world.folds))
    set_CSF = world.sets * rng.standard_normal((count, world.seeds, world.folds))
    if not world.anew:
        set_CSF[:] = set_CSF[:, :1]
    training_CSF = spread_C[:, None, None] * (luck_CSF + set_CSF)
    training_CSP = np.take_along_axis(training_CSF, np.broadcast_to(fold_SP, (count, *shape)), 2)
    return _dice(rng, world, training_CSP), fold_SP


def truth(world: World) -> Floats:
    """The true mean Dice of each configuration (C); only gains, failures and noise matter to it."""
    return _truth(World(noise=world.noise, gains=world.gains, failures=world.failures))


@cache
def _truth(world: World) -> Floats:
    rng = np.random.default_rng(12345)
    spread_C11 = world.spread_C[:, None, None]
    training_CSP = spread_C11 * rng.standard_normal((len(world.gains), 1, MANY))
    return _dice(rng, replace(world, seeds=1, patients=MANY), training_CSP).mean((1, 2))


def _dice(rng: Generator, world: World, training_CSP: Floats) -> Floats:
    count, seeds, patients = training_CSP.shape
    hard_P = rng.random(patients) < 0.125
    easy_P, low_P = rng.normal(2.17, 0.62, patients), rng.normal(0.1, 1.1, patients)
    patient_P = np.where(hard_P, low_P, easy_P)
    own_CP = OWN * rng.standard_t(5, (count, patients)) / np.sqrt(5 / 3)
    rest_CSP = REST * rng.standard_normal((count, seeds, patients))
    gain_C = np.array(world.gains)[:, None, None]
    logit_CSP = gain_C + (patient_P + own_CP)[:, None] + training_CSP + rest_CSP
    dice_CSP = 1 / (1 + np.exp(-logit_CSP))
    return np.asarray(np.where(_fails(rng, world, seeds, patients), 0.0, dice_CSP), np.float64)


def _fails(rng: Generator, world: World, seeds: int, patients: int) -> NDArray[np.bool_]:
    """Where a configuration fails: some with all others, some of its own with every seed."""
    count = len(world.failures)
    share_C = np.array(world.failures)[:, None, None]
    least = min(world.failures)
    common_P = rng.random(patients) < SHARED * least
    own_C = share_C - SHARED * least
    lasting_CP = rng.random((count, 1, patients)) < LASTING * own_C
    passing_CSP = rng.random((count, seeds, patients)) < (1 - LASTING) * own_C
    return np.asarray(common_P | lasting_CP | passing_CSP, np.bool_)
