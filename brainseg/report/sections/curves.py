"""The page's learning curves and patient dots."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import pandas as pd

from brainseg.analysis.snapshot import RunSnapshot, TrialSnapshot
from brainseg.records.queries import (
    by_configuration,
    fold_count,
    full_name,
    in_words,
    is_list,
    varied_between_configurations,
)
from brainseg.report.figures import curves as curve_figures
from brainseg.report.figures import patients as patient_figures
from brainseg.report.figures import style
from brainseg.report.figures.curves import Curve
from brainseg.report.html import Figure, Markup, render

GREY_CURVES = 200  # drawn at most, beside those in colour
CONFIGURATIONS = 24  # whose learning curves are drawn, at most


def learning_curves_section(run: RunSnapshot, frame: pd.DataFrame) -> Markup | None:
    """Dice, IoU and loss of the configurations of a sweep that runs a list of points."""
    if not is_list(run.sweep):
        return None
    started = [trial.record for trial in run.trials.values() if trial.rows]
    paths = varied_between_configurations(started)
    configurations, groups = [], by_configuration(started)
    places = {trial: place for place, trial in enumerate(frame["trial"])}
    place_of = [min(places[record.trial] for record in group) for group in groups]
    best = set(sorted(place_of)[:CONFIGURATIONS])
    for group in [group for group, place in zip(groups, place_of, strict=True) if place in best]:
        words = full_name(group[0].configuration, in_words(group[0].params, paths))
        curves = [curve_of(run.trials[record.trial], words, record.best_epoch) for record in group]
        colours = zip(curves, cycle(style.COLOURS), strict=False)
        configurations.append([replace(curve, colour=colour) for curve, colour in colours])
    each = "line is a fold and seed" if fold_count(run.sweep) else "colour is a seed"
    caption = (
        f"Each column is a configuration, each {each}. Dice and IoU are of the validation slices; "
        "solid loss is of validation, dashed of training."
    )
    if len(groups) > CONFIGURATIONS:
        caption += f" The best {CONFIGURATIONS} of {len(groups)} configurations are drawn."
    columns = len(style.COLOURS)
    figures = [
        Figure(curve_figures.learning_curves(configurations[n : n + columns]), caption)
        for n in range(0, len(configurations), columns)
    ]
    return render("figures", figures=figures) if figures else None


def curves_of(run: RunSnapshot, frame: pd.DataFrame) -> tuple[list[Curve], list[Curve]]:
    """The best few in colour, and all others; trials without an epoch have no curve."""
    best: list[Curve] = []
    others: list[Curve] = []
    for row in frame.to_dict("records"):
        words = full_name(row["arm"], row["varied"])
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


def dice_section(best: Sequence[Curve], others: Sequence[Curve]) -> Markup | None:
    if not (best or others):
        return None
    drawn = others[:GREY_CURVES]
    grey = f"the next {len(drawn)} of {len(others)}" if len(drawn) < len(others) else "all"
    caption = (
        "In colour: the best trials, with a dot at the best epoch and its Dice beside the name. "
        f"In grey: {grey} others, with a dot at the last epoch. Point at a curve for its name."
    )
    figure = Figure(curve_figures.dice_curves(best, drawn), caption)
    return render("figures", figures=[figure])


def loss_section(best: Sequence[Curve]) -> Markup | None:
    if not best:
        return None
    caption = "The learning rate is that of the end of each epoch."
    if len({curve.loss for curve in best}) > 1:
        caption += " Losses of different kinds are not comparable."
    figure = Figure(curve_figures.loss_curves(best), caption)
    return render("figures", figures=[figure])


def training_section(run: RunSnapshot) -> Markup | None:
    """The training loss of a refit, which has no other curve."""
    curves = [
        replace(curve_of(trial, trial.record.configuration, 0), colour=style.COLOURS[0])
        for trial in run.trials.values()
        if trial.rows
    ]
    if not curves:
        return None
    caption = (
        "The loss of the patients that it trains on: it falls whether or not the network gets "
        "better on new patients. The learning rate is that of the end of each epoch."
    )
    return render("figures", figures=[Figure(curve_figures.loss_curves(curves), caption)])


def patients_section(best: Sequence[Curve]) -> Markup | None:
    scored = [curve for curve in best if len(curve.patients)]
    if not scored:
        return None
    patients = pd.concat([curve.patients for curve in scored]).groupby("patient")["dice"]
    hardest = (f"{name} ({dice:.2f})" for name, dice in patients.mean().nsmallest(3).items())
    caption = (
        "Each dot is a patient. Bar: the middle half; line: the median; diamond: the mean. "
        f"Lowest mean Dice over these trials: {', '.join(hardest)}."
    )
    figure = Figure(patient_figures.patient_dots(scored), caption)
    return render("figures", figures=[figure])
