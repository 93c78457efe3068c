"""The page's learning curves and patient dots."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import pandas as pd

from brainseg.analysis.snapshot import RunSnapshot, TrialSnapshot
from brainseg.records.queries import in_folds, in_words, named, seed_groups, varied_between_arms
from brainseg.report.figures import curves as curve_figures
from brainseg.report.figures import patients as patient_figures
from brainseg.report.figures import style
from brainseg.report.figures.curves import Curve
from brainseg.report.html import Html, figure


def learning_curves_section(run: RunSnapshot) -> Html:
    """Dice, IoU and loss of each configuration of a sweep that runs a list of points."""
    if run.sweep["strategy"].get("kind") != "points":
        return Html()
    begun = [trial.record for trial in run.trials.values() if trial.rows]
    paths = varied_between_arms(begun)
    arms = []
    for group in seed_groups(begun):
        words = named(group[0].arm, in_words(group[0].params, paths))
        curves = [curve_of(run.trials[record.trial], words, record.best_epoch) for record in group]
        colours = zip(curves, cycle(style.COLOURS), strict=False)
        arms.append([replace(curve, colour=colour) for curve, colour in colours])
    columns = len(style.COLOURS)
    each = "line a fold and seed" if in_folds(run.sweep) else "colour a seed"
    caption = (
        f"A column a model, a {each}. "
        "Dice and IoU of the validation slices; loss of validation, and dashed that of training."
    )
    return Html(
        "\n".join(
            figure(curve_figures.learning_curves(arms[n : n + columns]), caption)
            for n in range(0, len(arms), columns)
        )
    )


def curves_of(run: RunSnapshot, frame: pd.DataFrame) -> tuple[list[Curve], list[Curve]]:
    """The best few in colour, and all others; trials without an epoch have no curve."""
    best: list[Curve] = []
    others: list[Curve] = []
    for row in frame.to_dict("records"):
        words = named(row["arm"], row["varied"])
        curve = curve_of(run.trials[row["trial"]], words, row["best_epoch"])
        if curve.epochs.empty:
            continue
        if pd.notna(row["rank"]) and len(best) < len(style.COLOURS):
            best.append(replace(curve, colour=style.COLOURS[len(best)]))
        else:
            others.append(curve)
    return best, others


def curve_of(trial: TrialSnapshot, words: str, best_epoch: int) -> Curve:
    return Curve(
        trial.record.trial,
        words,
        pd.DataFrame([row.to_json() for row in trial.rows]),
        best_epoch,
        trial.patients,
        trial.record.params.get("loss", ""),
    )


def dice_figure(best: Sequence[Curve], others: Sequence[Curve]) -> Html:
    if not (best or others):
        return Html()
    return figure(
        curve_figures.dice_curves(best, others),
        "In colour the best, with a dot at their best epoch and the score there; in grey all "
        "others, with a dot where they ended. Point at a curve for its name.",
    )


def loss_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    caption = "The learning rate is the one at each epoch's end."
    if len({curve.loss for curve in best}) > 1:
        caption += " Losses of different kinds share no scale."
    return figure(curve_figures.loss_curves(best), caption)


def patient_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    patients = pd.concat([curve.patients for curve in best]).groupby("patient")["dice"]
    hardest = (f"{name} ({dice:.2f})" for name, dice in patients.mean().nsmallest(3).items())
    return figure(
        patient_figures.patient_dots(best),
        "A dot is a patient; bar over the middle half, line at the median, diamond at the mean. "
        f"Hardest, by the mean over these trials: {', '.join(hardest)}.",
    )
