"""The learning rates between which a network learns: its loss while the rate grows at each step.

Source: Smith (2017), "Cyclical learning rates for training neural networks", section 3.3, with a
rate that grows by one factor a step (Gugger, 2018), so that eight decades fit in few steps.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import accumulate, islice, pairwise
from math import inf
from pathlib import Path
from statistics import fmean, median

import numpy as np

from brainseg.records.files import read_text, write_text
from brainseg.training.guards.finite import NotFinite
from brainseg.training.schedules import ScheduleFunction, Setting

FEWEST = 10  # steps
STEPS = 200  # of the test that a trial takes by itself
DIVERGED = 4.0  # times the best loss: no higher rate will be better
MEDIAN = 5  # losses
ASIDE = MEDIAN // 2
HALF = 0.02  # of the curve away, a loss has half the weight in the smoothed one
STARTED, DONE = 0.1, 0.75  # shares of the whole fall at the two bounds
TURNED = 0.5  # share of the fall
NOISE = 2.5  # usual changes between neighbouring losses; by chance alone a fall is two (simulated)
COLUMNS = ("lr", "loss", "smoothed", "bound")

OnStep = Callable[[Setting, float], None]  # called after a step with its setting and its loss


def ignore_step(setting: Setting, loss: float) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class RangeCurve:
    """The loss after one step at each of the growing rates."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]

    def start(self) -> tuple[float, ...]:
        """The first tenth of the losses, before the rate does anything; five at least."""
        return self.losses[: max(5, len(self.losses) // 10)]

    def smoothed(self) -> list[float]:
        """Medians of a few losses, averaged with weights that fall off to both sides.

        Averaging earlier losses alone would shift the curve to higher rates, and one lucky batch
        could be the lowest point of a mean. A loss above all of the start counts as the highest of
        the start: how far a network diverged does not matter.
        """
        count = len(self.losses)
        capped = np.minimum(self.losses, max(self.start()))
        near = np.lib.stride_tricks.sliding_window_view(np.pad(capped, ASIDE, "reflect"), MEDIAN)
        away = np.abs(np.arange(1 - count, count))  # steps from a loss to its neighbours
        weights = 0.5 ** (away / max(1.0, HALF * count))
        total = np.convolve(weights, np.ones(count), "valid")
        means = np.convolve(weights, np.median(near, axis=1), "valid") / total
        return [float(mean) for mean in means]


@dataclass(frozen=True)
class Bounds:
    """The rates between which the loss falls: base and maximum of a cyclical schedule."""

    low: float
    high: float


def suggest(curve: RangeCurve) -> Bounds:
    """The rates at which the smoothed loss starts to fall and has nearly stopped falling.

    The fall is from the mean of the start to the lowest smoothed loss before the turn; the loss
    has turned once it has climbed back by half of the fall: a dip at higher rates is chance.
    ``high`` is the first rate at which three quarters of the fall are done: clearly before the
    turn and the rates at which the loss jumps. ``low`` is the last rate before ``high`` at which
    less than a tenth is done.

    Raises:
        ValueError: the loss never falls by more than its noise.
    """
    if len(curve.lrs) < FEWEST:
        raise ValueError(
            f"a range test needs {FEWEST} steps to see a fall, the loss diverged after "
            f"{len(curve.lrs)}; start lower"
        )
    start = fmean(curve.start())
    noise = median(abs(after - before) for before, after in pairwise(curve.losses))
    smoothed = _to_the_turn(curve.smoothed(), start, NOISE * noise)
    fall = start - min(smoothed)
    done = next((k for k, loss in enumerate(smoothed) if loss <= start - DONE * fall), 0)
    waiting = [k for k in range(done) if smoothed[k] > start - STARTED * fall]
    if fall <= NOISE * noise or not waiting:
        raise ValueError(
            f"a range test needs a loss that falls, from the rate {curve.lrs[0]:.2g} to "
            f"{curve.lrs[-1]:.2g} it starts at {start:.3g} and its lowest is {min(smoothed):.3g}; "
            "start lower, end higher, take more steps or larger batches"
        )
    return Bounds(low=curve.lrs[waiting[-1]], high=curve.lrs[done])


def range_test(
    step_losses: Callable[[ScheduleFunction], Iterator[float]],
    *,
    momentum: float,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = STEPS,
    on_step: OnStep = ignore_step,
) -> RangeCurve:
    """Take ``steps`` steps, each at a higher rate; end early where the loss has diverged.

    Args:
        step_losses: trains under a schedule and yields the loss of each step, taken before it, as
            ``loop.train_steps`` does. It yields one loss more than steps: after the last.
        momentum: of every step.
        on_step: called after every step, with the loss after it.

    Raises:
        ValueError: rates that do not grow, too few steps, or a first loss that is not finite.
    """
    require_growing(lowest, highest, steps)
    growth = (highest / lowest) ** (1 / (steps - 1))

    def schedule(step: int) -> Setting:
        return Setting(lowest * growth**step, momentum)

    losses: list[float] = []
    try:
        for step, loss in enumerate(islice(step_losses(schedule), 1, steps + 1)):
            losses.append(loss)
            on_step(schedule(step), loss)
            if _has_diverged(losses):
                break
    except NotFinite as error:  # the last rate taken was too high: the curve ends before it
        if not losses:
            raise ValueError(
                f"a range test must start with a finite loss, at the rate {lowest:.2g} {error}; "
                "start lower, or check data and weights"
            ) from error
    return RangeCurve(tuple(schedule(step).lr for step in range(len(losses))), tuple(losses))


def write_curve(path: Path, curve: RangeCurve, bounds: Bounds) -> None:
    """Write one CSV line per step; column ``bound`` marks the two bounds."""
    assert {bounds.low, bounds.high} <= set(curve.lrs), f"{bounds} are no rates of the curve"
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    marks = {bounds.low: "low", bounds.high: "high"}
    for lr, loss, smoothed in zip(curve.lrs, curve.losses, curve.smoothed(), strict=True):
        lines.writerow([lr, loss, smoothed, marks.get(lr, "")])
    write_text(path, text.getvalue())


def read_bounds(path: Path) -> Bounds:
    """The bounds that ``write_curve`` wrote.

    Raises:
        ValueError: the file marks no bounds.
    """
    text = read_text(path, "remove it to take the test again")
    try:
        marked = {row.get("bound"): row.get("lr") for row in csv.DictReader(StringIO(text))}
        return Bounds(low=float(marked["low"] or ""), high=float(marked["high"] or ""))
    except (KeyError, ValueError, csv.Error):
        raise ValueError(
            f"a curve of a range test marks its bounds low and high, {path} does not; remove it "
            "to take the test again"
        ) from None


def _to_the_turn(smoothed: list[float], start: float, least: float) -> list[float]:
    """The smoothed losses until they turn, after a fall by more than ``least``; all if never."""
    lowest = start
    for k, loss in enumerate(smoothed):
        lowest = min(lowest, loss)
        if start - lowest > least and loss > lowest + TURNED * (start - lowest):
            return smoothed[:k]
    return smoothed


def _has_diverged(losses: list[float]) -> bool:
    """Whether the running mean of the losses is far above the lowest that it was."""
    means = list(accumulate(losses, lambda mean, loss: 0.75 * mean + 0.25 * loss))
    return means[-1] > DIVERGED * min(means)


def require_growing(lowest: float, highest: float, steps: int) -> None:
    """Refuse rates and steps that make no range test, as ValueError."""
    if not 0 < lowest < highest < inf:
        raise ValueError(
            f"a range test goes from a rate above 0 to a higher one, got {lowest:g} to {highest:g}"
        )
    if steps < FEWEST:
        raise ValueError(f"a range test takes at least {FEWEST} steps, got {steps}")
