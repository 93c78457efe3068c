"""Which configuration is tried next: a Gaussian process over configurations and epochs.

Every trial counts with its scores at the epochs it reached, each marked with its epoch, so that an
early score is never taken for a final one. A score is modelled as a sum of three parts: how
training goes in general, what the configuration changes (throughout, and epoch by epoch), and the
luck of this one trial. The next configuration is the candidate with the highest expected
improvement at its last epoch, divided by the square root of its expected seconds. Improvement is
counted from the best posterior mean plus a margin.

Conditional hyperparameters need no special care: candidates are drawn as the space itself draws, or
are the best trials with one or two values drawn again. A running trial counts with its scores so
far, and at its last epoch with its posterior mean, so that two workers get different points.

Shapes: N observed values, T trials, C candidates, P paths, F features.

Sources: Jones et al. (1998), expected improvement; Ginsbourger et al. (2010), "Kriging is
well-suited to parallelize optimization", for running trials; Swersky et al. (2014), "Freeze-thaw
Bayesian optimization", for curves under one process.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm

from brainseg.config.distributions import Params
from brainseg.config.space import Space
from brainseg.search.observations import Observation
from brainseg.search.proposals.encoding import Floats, SpaceEncoder
from brainseg.search.proposals.gaussian_process import FIRST, fitted, modelled, observed_of

DRAWS, NEIGHBOURS, LEADERS = 300, 200, 6  # candidates; of how many trials the neighbours
MARGIN = 0.3  # standard deviations above the best posterior mean


def propose(space: Space[Any], observed: Sequence[Observation], rng: Generator) -> Params:
    """The point to try next: one that ``space`` could draw and that was not tried yet.

    The same trials and an equally seeded ``rng`` give the same point. A point is proposed twice
    only if all candidates were tried already.
    """
    encoder = SpaceEncoder(space)
    if not encoder.paths:
        return {}
    past = encoder.codes([trial.params for trial in observed])
    known = {tuple(row) for row in np.nan_to_num(past, nan=-1).tolist()}
    codes = encoder.draw(DRAWS, rng)
    scored = [number for number, trial in enumerate(observed) if trial.best]
    order: Sequence[int] = range(len(codes))
    if len(scored) >= FIRST:
        leaders = sorted(scored, key=lambda number: -observed[number].best[-1])[:LEADERS]
        codes = np.concatenate([codes, encoder.near(past[np.resize(leaders, NEIGHBOURS)], rng)])
        order = np.argsort(-_worth(encoder, observed, past, codes), kind="stable").tolist()
    rows = np.nan_to_num(codes, nan=-1).tolist()
    chosen = next((number for number in order if tuple(rows[number]) not in known), order[0])
    return encoder.point(codes[chosen])


def _worth(
    encoder: SpaceEncoder, observed: Sequence[Observation], past: Floats, codes: Floats
) -> Floats:
    """Expected improvement of each point at its last epoch, per root of its seconds: (C,)."""
    started = modelled(observed)
    trials = [observed[number] for number in started]
    features = encoder.features(np.concatenate([past[started], codes]))
    process = fitted(observed_of(trials), features)
    new = len(trials) + np.arange(len(codes))
    ended, _ = process.at_end(np.arange(len(trials)))
    running = np.array([n for n, trial in enumerate(trials) if trial.running], int)
    mean, spread = process.expecting(running).at_end(new)
    improvement = expected_improvement(mean, spread, ended.max() + MARGIN)
    worth: Floats = improvement / np.sqrt(_seconds(trials, features)[new])
    return worth


def _seconds(trials: Sequence[Observation], features: list[Floats]) -> Floats:
    """Seconds of an epoch of each trial and point, by ridge regression of their logarithm."""
    table = np.concatenate(features, axis=1)
    known = [number for number, trial in enumerate(trials) if trial.seconds > 0]
    if not known:
        return np.ones(len(table))
    log_seconds = np.log([trials[number].seconds for number in known])
    centre = table[known].mean(0)
    rows = table[known] - centre
    ridge = cho_factor(rows.T @ rows + 0.1 * np.eye(len(centre)), lower=True)
    slopes = cho_solve(ridge, rows.T @ (log_seconds - log_seconds.mean()))
    return np.asarray(np.exp(log_seconds.mean() + (table - centre) @ slopes))


def expected_improvement(mean: Floats, spread: Floats, best: float) -> Floats:
    """Expected excess of normal variables over ``best``, 0 where they are below it: (C,)."""
    gain = (mean - best) / spread
    improvement: Floats = spread * (gain * norm.cdf(gain) + norm.pdf(gain))
    return improvement
