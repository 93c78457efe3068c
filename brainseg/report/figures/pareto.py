"""Dice against one cost, and as a line the highest Dice at each cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from brainseg.report.figures.style import COLOURS, FAINT, GREY, STYLE, Svg, as_svg


@dataclass(frozen=True, kw_only=True)
class PricedTrial:
    """A trial to draw."""

    trial: str
    configuration: str  # in words
    dice: float
    cost: float
    optimal: bool  # no trial is at least as good in all objectives and better in one


def dice_against_cost(trials: Sequence[PricedTrial], cost: str) -> Svg:
    """A dot per trial: cost to the right on a logarithmic axis, Dice upwards."""
    hover = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots()
        front = _front(trials)
        costs, dice = [trial.cost for trial in front], [trial.dice for trial in front]
        axes.step(costs, dice, c=COLOURS[0], where="post")
        for n, trial in enumerate(trials):
            colour = COLOURS[0] if trial.optimal else GREY
            axes.plot(trial.cost, trial.dice, "o", c=colour, ms=7, mew=0, gid=f"trial-{n}")
            hover[f"trial-{n}"] = f"{trial.trial}: {trial.configuration}, Dice {trial.dice:.3f}"
        for trial in (trial for trial in trials if trial.optimal):
            axes.annotate(
                trial.trial, (trial.cost, trial.dice), (0, 6), textcoords="offset points",
                ha="center", fontsize=8, color=FAINT,
            )  # fmt: skip
        _set_log_scale(axes)
        axes.set_xlabel(f"{cost} (logarithmic)")
        axes.set_ylabel("validation Dice")
        return as_svg(figure, f"Validation Dice against {cost}", hover)


def _front(trials: Sequence[PricedTrial]) -> list[PricedTrial]:
    """Cheapest first, those with a higher Dice than every cheaper one: what the line joins."""
    front: list[PricedTrial] = []
    for trial in sorted(trials, key=lambda trial: (trial.cost, -trial.dice)):
        if trial.optimal and (not front or trial.dice > front[-1].dice):
            front.append(trial)
    return front


def _set_log_scale(axes: Axes) -> None:
    """Ticks in plain numbers; matplotlib's own are formulas, which ``STYLE`` leaves as text."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    steps = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.12g}"))
    axes.minorticks_off()
