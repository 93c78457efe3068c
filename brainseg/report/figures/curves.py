"""Dice, loss and learning-rate curves over epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten, wrap
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from brainseg.report.figures.style import COLOURS, FAINT, GREY, INK, STYLE, Svg, as_svg


@dataclass(frozen=True)
class Curve:
    """One trial to draw."""

    trial: str
    configuration: str  # in words
    epochs: pd.DataFrame  # a row per epoch: epoch, dice, train_loss, val_loss, lr
    best_epoch: int
    patients: pd.DataFrame  # a row per validation patient: patient, dice
    loss: str = ""  # its kind; losses of different kinds are not comparable
    colour: str = GREY


def dice_curves(best: Sequence[Curve], others: Sequence[Curve]) -> Svg:
    """Validation Dice per epoch of every trial; the best are labelled at the side."""
    hover = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.3), layout="constrained")
        axes = figure.subplots()
        for n, curve in enumerate([*others, *reversed(best)]):
            hover[f"curve-{n}"] = f"{curve.trial}: {curve.configuration}"
            _draw_dice(axes, curve, gid=f"curve-{n}")
        _set_limits([*best, *others], axes)
        axes.set_ylabel("validation Dice")
        _label_ends(axes, best)
        return as_svg(figure, "Validation Dice per epoch of every trial", hover)


def loss_curves(best: Sequence[Curve]) -> Svg:
    """Training and validation loss, a column per trial, with the learning rate underneath."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.5), layout="constrained")
        columns = len(COLOURS)
        grid = figure.subplots(2, columns, sharex=True, squeeze=False, height_ratios=(3, 1))
        if len({curve.loss for curve in best}) == 1:
            for axes in grid[0, 1 : len(best)]:
                axes.sharey(grid[0, 0])
                axes.tick_params(labelleft=False)
        for curve, axes in zip(best, grid.T, strict=False):
            _draw_losses(axes[0], curve)
            _draw_rate(axes[1], curve)
        for axes in grid[:, len(best) :].flat:
            axes.set_axis_off()
        grid[0, 0].legend(frameon=False, fontsize=8, handlelength=1.6)
        grid[0, 0].set_ylabel("loss")
        grid[1, 0].set_ylabel("learning\nrate")
        return as_svg(figure, "Training and validation loss of the best trials, and learning rate")


def learning_curves(groups: Sequence[Sequence[Curve]]) -> Svg:
    """Dice, IoU and loss per epoch: a column per configuration, a line per trial.

    Training is dashed.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 6), layout="constrained")
        columns = max(len(groups), 3)
        grid = figure.subplots(3, columns, sharex=True, sharey="row", squeeze=False)
        for curves, axes in zip(groups, grid.T, strict=False):
            for curve in curves:
                _draw_learning(axes, curve)
            axes[0].set_title("\n".join(wrap(curves[0].configuration, 24)[:3]), color=INK)
            axes[2].set_xlabel("epoch")
            axes[2].xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axes in grid[:, len(groups) :].flat:
            axes.set_axis_off()
        for axes, name in zip(grid[:, 0], ("Dice", "IoU", "loss"), strict=True):
            axes.set_ylabel(name)
        return as_svg(figure, "Dice, IoU and loss per epoch of every configuration")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """``heights`` moved as little as possible so that all lie at least ``gap`` apart, in order."""
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    groups: list[tuple[float, int]] = []  # (middle, count) of labels that touch
    for n in order:
        groups.append((heights[n], 1))
        while len(groups) > 1 and _touch(groups[-2], groups[-1], gap):
            (low, few), (high, more) = groups[-2:]
            groups[-2:] = [((low * few + high * more) / (few + more), few + more)]
    placed = [
        middle + gap * (k - (count - 1) / 2) for middle, count in groups for k in range(count)
    ]
    return [placed[order.index(n)] for n in range(len(heights))]


def _touch(low: tuple[float, int], high: tuple[float, int], gap: float) -> bool:
    return high[0] - low[0] < gap * (low[1] + high[1]) / 2


def _draw_dice(axes: Axes, curve: Curve, gid: str) -> None:
    """One curve; the dot is at its last epoch, of the best trials at their best epoch."""
    epochs, best = curve.epochs, curve.colour != GREY
    width, layer = (1.8, 3) if best else (1.0, 2)
    axes.plot(epochs["epoch"], epochs["dice"], c=curve.colour, lw=width, zorder=layer, gid=gid)
    dot = epochs[epochs["epoch"] == curve.best_epoch] if best else epochs.tail(1)
    size = 5 if best else 2.5
    axes.plot(dot["epoch"], dot["dice"], "o", c=curve.colour, ms=size, mew=0, zorder=layer)


def _label_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Name each curve at the side, in the order of their best scores, with a line to its end."""
    low, high = axes.get_ylim()
    scores = [float(curve.epochs["dice"].max()) for curve in curves]
    heights = spread(scores, gap=0.065 * (high - low))
    lift = min(0.0, high - max(heights, default=high))
    for curve, score, height in zip(curves, scores, heights, strict=True):
        end = curve.epochs.iloc[-1]
        axes.annotate(
            f"{score:.3f} · {label_of(curve)}",
            (end["epoch"], end["dice"]),
            (1.04, height + lift),
            textcoords=("axes fraction", "data"),
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": curve.colour,
                "lw": 0.9,
                "alpha": 0.7,
                "linestyle": (0, (1, 1.5)),
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 3,
            },
        )


def _draw_losses(axes: Axes, curve: Curve) -> None:
    epoch = curve.epochs["epoch"]
    axes.plot(epoch, curve.epochs["train_loss"], c=FAINT, lw=1.1, ls=(0, (3, 1.5)), label="train")
    if "val_loss" in curve.epochs:  # nobody validates a refit
        axes.plot(epoch, curve.epochs["val_loss"], c=curve.colour, label="validation")
    axes.set_title("\n".join([curve.trial, *wrap(curve.configuration, 24)[:2]]), color=INK)


def _draw_learning(axes: NDArray[Any], curve: Curve) -> None:
    """One trial's Dice, IoU and loss on three axes."""
    epochs = curve.epochs
    axes[0].plot(epochs["epoch"], epochs["dice"], c=curve.colour, lw=1.2)
    axes[1].plot(epochs["epoch"], epochs["iou"], c=curve.colour, lw=1.2)
    axes[2].plot(epochs["epoch"], epochs["val_loss"], c=curve.colour, lw=1.2)
    axes[2].plot(epochs["epoch"], epochs["train_loss"], c=FAINT, lw=1.0, ls=(0, (3, 1.5)))


def _draw_rate(axes: Axes, curve: Curve) -> None:
    rate = curve.epochs["lr"]
    axes.fill_between(curve.epochs["epoch"], rate, color="#dfe3e8", lw=0)
    axes.plot(curve.epochs["epoch"], rate, c=FAINT, lw=1)
    axes.set_yticks([])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"epoch (highest rate {rate.max():.2g})", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _set_limits(curves: Sequence[Curve], axes: Axes) -> None:
    """Leave room for the upper curves: first epochs far below them are cut off."""
    dice = pd.concat([curve.epochs["dice"] for curve in curves])
    highest = float(dice.max())
    room = max(highest - float(dice.quantile(0.1)), 0.05)
    axes.set_ylim(max(-0.01, highest - 1.25 * room), highest + 0.08 * room)
    axes.set_xlim(0.8, max(curve.epochs["epoch"].max() for curve in curves) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set_xlabel("epoch")


def label_of(curve: Curve) -> str:
    return f"{curve.trial} · {shorten(curve.configuration, 44, placeholder=' …')}"
