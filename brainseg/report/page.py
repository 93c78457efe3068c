"""The report of a sweep as one HTML page, which loads nothing and so opens anywhere."""

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis import comparison, verdicts
from brainseg.analysis.arms import (
    in_folds,
    in_words,
    named,
    over_seeds,
    seed_groups,
    varied_between_arms,
)
from brainseg.analysis.comparison import Comparison
from brainseg.analysis.cost_summary import NOT_COUNTED, ledger, unit_of
from brainseg.analysis.verdicts import Verdict
from brainseg.config.claims import Faster, Rougher
from brainseg.data.channels import flair_channel, recorded_names
from brainseg.records.run import ENDED, Run, TrialRecord, read_json, write_text
from brainseg.records.timing import PARTS
from brainseg.report import results
from brainseg.report.figures import style
from brainseg.report.figures.style import Curve
from brainseg.report.html import Html, document, figure, pairs, safe, table
from brainseg.report.sections import comparison as comparison_section
from brainseg.report.sections import pareto
from brainseg.search.expected_dice import EXPECTED

HEADS = {  # what the table calls the scores
    "iou": "IoU",
    "micro_dice": "micro Dice",
    "tumour_slice_dice": "tumour slices",
    "slice_dice_empty1": "empty = 1",
    "false_alarm": "false alarm",
}
EXPECTED_HEAD = "expected Dice"
WORDS = ("trial", "over patients", "state")  # columns that are no numbers
WRAPPED = ("model", "differs in", "why")
PANELS = 12  # of a trial's slices; more would make the page heavy
METRICS = {
    "Dice": "The score that ranks. Per patient, over all slices at once, 2tp / (2tp + fp + fn) in "
    "pixels; then the mean over patients. A patient without tumour counts 1 if nothing is "
    "predicted, else 0.",
    EXPECTED_HEAD: EXPECTED,
    "over patients": "The validation patients' own Dice on an axis from 0 to 1: bar over the "
    "middle half (its ends stand beside it), line at the median, dot at the mean.",
    "IoU": "The same with tp / (tp + fp + fn).",
    "micro Dice": "2tp / (2tp + fp + fn) over the pixels of all patients together.",
    "tumour slices": "Mean slice Dice over the slices that have tumour.",
    "empty = 1": "Mean slice Dice over all slices, an empty slice left empty counting 1. Many "
    "notebooks report it; what predicting nothing scores is below the ranking.",
    "false alarm": "Share of the slices without tumour in which some is predicted; less is better.",
    "epochs": "The best, whose scores these are / how many were finished.",
    "device time": "How long the trial held its devices, times their number.",
}


def write_report(run: Run) -> Path:
    """Write results.html: one file that loads nothing from anywhere."""
    sweep, frame = read_json(run.sweep), results.ranking(run)
    best, others = _curves(run, frame)
    found = comparison_section.found(run)
    sections = {
        comparison_section.TITLE: comparison_section.section(sweep, found),
        verdicts.TITLE: _claims(run, sweep),
        pareto.TITLE: pareto.section(run, sweep),
        "Ranking": _ranking(frame, sweep),
        "Over seeds": _over_seeds(over_seeds(run), sweep),
        "Learning curves": _learning_curves(run, sweep),
        "Validation Dice": _dice_figure(best, others),
        "Loss and learning rate": _loss_figure(best),
        "Patients": _patient_figure([curve for curve in best if len(curve.patients)]),
        "Slices": _slices(run, sweep, frame),
        "Stopped and failed": _ended_early(frame),
        "What it cost": _costs(run),
        "Train the leader again": _replay(run, sweep, frame),
        "What the columns mean": pairs(_meanings(frame)),
        "Searched": pairs(sweep["space"]),
        "Held": pairs({k: v for k, v in sweep["base"].items() if k not in sweep["space"]}),
        "Versions": pairs(sweep["versions"]),
    }
    write_text(run.report, document(sweep["name"], _head(run, sweep, frame, found), sections))
    return run.report


def _head(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame, found: Comparison | str) -> Html:
    lead = results.answer(run, frame)
    if in_folds(sweep) and isinstance(found, Comparison):
        lead = comparison.answer(found)
    facts = "".join(
        f"<div><dt>{name}</dt>{''.join(f'<dd>{safe(line)}</dd>' for line in lines)}</div>"
        for name, lines in _facts(run, sweep, frame).items()
    )
    more = filter(None, [results.doubted(run, frame)])
    notes = [*results.audit_note(run), results.doubt(sweep)]
    return Html(
        f'<p class="note">brainseg · sweep {safe(sweep["name"])}</p>\n'
        f"<h1>{safe(sweep['question'])}</h1>\n"
        f'<p class="lead">{safe(lead)}</p>\n'
        f"{''.join(f'<p>{safe(text)}</p>' for text in more)}\n"
        f"{''.join(f'<p class=note>{text}</p>' for text in notes)}\n"
        f"{''.join(f'<p class=warn>{text}</p>' for text in results.warnings(sweep))}\n"
        f'<dl class="facts">{facts}</dl>'
    )


def _facts(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, list[str]]:
    data, split = sweep["data"], sweep["split"]
    states = Counter(frame["state"])
    order = [state for state in (*ENDED, "paused", "running", "queued") if states[state]]
    strategy, confirms = sweep["strategy"].items(), sweep.get("confirms")
    origin = [f"the best {confirms['top']} of", confirms["search"]] if confirms else []
    return {
        **({"Confirms": origin} if origin else {}),
        "Data": [
            f"{data['patients']} patients, {data['slices']} slices, "
            f"{data['tumour_slices']} of them with tumour",
            data["root"],
            f"fingerprint {data['fingerprint'][:12]}",
        ],
        "Split": [
            results.drawn(split),
            *results.parts(split),
            "the search never sees test",
        ],
        "Trials": [
            ", ".join(f"{states[state]} {state}" for state in order) or "none yet",
            f"{frame['epochs'].sum()} epochs",
            f"{frame['device_seconds'].sum() / 3600:.2f} device-hours",
            *results.ending_note(run),
        ],
        "Search": [f"{name.replace('_', ' ')} {value}" for name, value in strategy],
        "Command": [sweep["command"]],
        "Begun": [sweep["made"], f"id {sweep['uid']}"],
    }


def _ranking(frame: pd.DataFrame, sweep: Mapping[str, Any]) -> Html:
    rows: list[dict[str, object]] = []
    kinds, expects = [], results.expects(frame)
    for row in frame.to_dict("records"):
        rows.append(
            {
                "#": _place(row["rank"]),
                "trial": row["trial"],
                "model": row["arm"],
                "Dice": results.number(row["dice"]),
                **({EXPECTED_HEAD: results.number(row["expected_dice"])} if expects else {}),
                "over patients": _quartiles(row),
                **{name: results.number(row[score]) for score, name in HEADS.items()},
                "epochs": f"{row['best_epoch']} / {row['epochs']}" if row["epochs"] else "",
                **({"differs in": row["varied"]} if frame["varied"].any() else {}),
                "device time": results.duration(row["device_seconds"]),
                "state": row["state"],
            }
        )
        kinds.append("faint" if pd.isna(row["rank"]) else "first" if row["rank"] == 1 else "")
    for one in results.blind(sweep):
        scores = {name: results.number(one[score]) for score, name in HEADS.items()}
        rows.append({"model": one["arm"], "Dice": results.number(one["dice"]), **scores})
        kinds.append("faint")
    note = Html(f'<p class="note">{results.blind_note(sweep)}</p>')
    return Html(table(rows, kinds, words=WORDS, wrapped=WRAPPED) + note + _leak(sweep))


def _meanings(frame: pd.DataFrame) -> dict[str, str]:
    """What the ranking's columns mean."""
    told = results.expects(frame)
    return {name: text for name, text in METRICS.items() if told or name != EXPECTED_HEAD}


def _leak(sweep: Mapping[str, Any]) -> Html:
    """What must stand wherever scores under a leaking split do."""
    return Html(f'<p class="warn">{results.LEAK}</p>' if results.leaks(sweep) else "")


def _over_seeds(frame: pd.DataFrame, sweep: Mapping[str, Any]) -> Html:
    """Configurations that were trained with several seeds, each one a row."""
    rows = [
        {
            "model": row["arm"],
            "differs in": row["varied"],
            **({"patients": row["patients"]} if row["patients"] else {}),
            "seeds": row["seeds"],
            "mean Dice": results.number(row["dice"]),
            "standard deviation": results.number(row["dice_sd"]),
            "lowest": results.number(row["dice_low"]),
            "highest": results.number(row["dice_high"]),
            "mean best epoch": f"{row['best_epoch']:.1f}",
        }
        for row in frame.to_dict("records")
    ]
    return Html(table(rows, [""] * len(rows), wrapped=WRAPPED) + _leak(sweep)) if rows else Html()


def _claims(run: Run, sweep: Mapping[str, Any]) -> Html:
    """Each conclusion with its verdict, the numbers and the picture behind it."""
    parts = [
        f"<h3>{safe(one.claim.text)}: {one.word}</h3>\n<p>{safe(one.why)}</p>\n"
        f"{_claim_figures(run, one)}"
        for one in verdicts.judged(run)
    ]
    if not parts:
        return Html()
    notes = "".join(f'<p class="warn">{text}</p>' for text in results.warnings(sweep))
    return Html(f'{notes}<p class="note">{verdicts.METHOD}</p>\n' + "\n".join(parts))


def _claim_figures(run: Run, verdict: Verdict) -> Html:
    """The differences with their intervals and, where curves were measured, the curves."""
    rows = [
        (f"{one.arm.words} less {one.rival.words}", one.difference, one.low, one.high)
        for one in verdict.contrasts
        if one.ours
    ]
    if not rows:
        return Html()
    measure, _ = verdicts.MEASURES[type(verdict.claim)]
    picture = figure(
        style.differences(rows, measure),
        "Dot: the difference, the first less the second; line: its 95 % interval, where there is "
        "one. An interval that crosses zero cannot tell.",
    )
    if not isinstance(verdict.claim, Faster | Rougher):
        return picture
    ours = {one.arm.words: one.arm for one in verdict.contrasts}
    rivals = {one.rival.words: one.rival for one in verdict.contrasts}
    named = [*ours.values(), *rivals.values()][: len(style.COLOURS)]
    curves = [
        replace(_curve(run, first, arm.words, first.best_epoch), colour=colour)
        for arm, colour in zip(named, style.COLOURS, strict=False)
        for first in arm.records[:1]
    ]
    caption = "The first seed of each model; the dot is at its best epoch."
    return Html(picture + figure(style.dice_curves(curves, []), caption))


def _learning_curves(run: Run, sweep: Mapping[str, Any]) -> Html:
    """Dice, IoU and loss of each configuration of a sweep that runs a list of points."""
    if sweep["strategy"].get("kind") != "points":
        return Html()
    begun = [record for record in run.trials() if run.trial(record.trial).rows()]
    paths = varied_between_arms(begun)
    arms = []
    for group in seed_groups(begun):
        words = named(group[0].arm, in_words(group[0].params, paths))
        curves = [_curve(run, record, words, record.best_epoch) for record in group]
        colours = zip(curves, cycle(style.COLOURS), strict=False)
        arms.append([replace(curve, colour=colour) for curve, colour in colours])
    columns = len(style.COLOURS)
    caption = (
        f"A column a model, a {'line a fold and seed' if in_folds(sweep) else 'colour a seed'}. "
        "Dice and IoU of the validation slices; loss of validation, and dashed that of training."
    )
    return Html(
        "\n".join(
            figure(style.learning_curves(arms[n : n + columns]), caption)
            for n in range(0, len(arms), columns)
        )
    )


def _place(rank: Any) -> Html:
    """The rank, with the trial's colour in the figures."""
    if pd.isna(rank):
        return Html()
    colours = dict(enumerate(style.COLOURS, start=1))
    dot = f'<span style="color:{colours[rank]}">●</span> ' if rank in colours else ""
    return Html(f"{dot}{rank}")


def _quartiles(row: Mapping[Any, Any]) -> Html:
    if not row["patients"]:
        return Html()
    low, high = row["dice_q1"], row["dice_q3"]
    bar = style.quartile_bar(low, row["dice_median"], high, row["dice"])
    return Html(f"{bar} {low:.2f} to {high:.2f}")


def _curves(run: Run, frame: pd.DataFrame) -> tuple[list[Curve], list[Curve]]:
    """The best few in colour, and all others; trials without an epoch have no curve."""
    records = {record.trial: record for record in run.trials()}
    best: list[Curve] = []
    others: list[Curve] = []
    for row in frame.to_dict("records"):
        words = named(row["arm"], row["varied"])
        curve = _curve(run, records[row["trial"]], words, row["best_epoch"])
        if curve.epochs.empty:
            continue
        if pd.notna(row["rank"]) and len(best) < len(style.COLOURS):
            best.append(replace(curve, colour=style.COLOURS[len(best)]))
        else:
            others.append(curve)
    return best, others


def _curve(run: Run, record: TrialRecord, words: str, best_epoch: int) -> Curve:
    return Curve(
        record.trial,
        words,
        pd.DataFrame(run.trial(record.trial).rows()),
        best_epoch,
        results.patients(run, record.trial),
        record.params.get("loss", ""),
    )


def _dice_figure(best: Sequence[Curve], others: Sequence[Curve]) -> Html:
    if not (best or others):
        return Html()
    return figure(
        style.dice_curves(best, others),
        "In colour the best, with a dot at their best epoch and the score there; in grey all "
        "others, with a dot where they ended. Point at a curve for its name.",
    )


def _loss_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    caption = "The learning rate is the one at each epoch's end."
    if len({curve.loss for curve in best}) > 1:
        caption += " Losses of different kinds share no scale."
    return figure(style.loss_curves(best), caption)


def _patient_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    patients = pd.concat([curve.patients for curve in best]).groupby("patient")["dice"]
    hardest = (f"{name} ({dice:.2f})" for name, dice in patients.mean().nsmallest(3).items())
    return figure(
        style.patient_dots(best),
        "A dot is a patient; bar over the middle half, line at the median, diamond at the mean. "
        f"Hardest, by the mean over these trials: {', '.join(hardest)}.",
    )


def _slices(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
    """Image, truth and prediction of the leader; where points are run, of each model's best."""
    ranked = frame[frame["rank"].notna()]
    shown = ranked["trial"].tolist()[:1]
    if sweep["strategy"].get("kind") == "points":
        groups = seed_groups([r for r in run.trials() if r.trial in set(ranked["trial"])])
        best = {max(group, key=lambda record: record.dice or 0).trial for group in groups}
        shown = [trial for trial in ranked["trial"] if trial in best]
    if in_folds(sweep):  # the same patients of every arm
        first = {group[0].trial for group in seed_groups(run.trials())}
        shown = [trial for trial in frame["trial"] if trial in first]
    words = {row["trial"]: named(row["arm"], row["varied"]) for _, row in frame.iterrows()}
    return Html("\n".join(_panels(run, trial, words[trial]) for trial in shown))


def _panels(run: Run, trial: str, words: str) -> Html:
    if not (path := run.trial(trial).panels).exists():
        return Html()
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ("images", "truths", "predictions", "labels")
            parts, epoch = [file[name][:PANELS] for name in names], int(file["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        return Html(f'<p class="note">{safe(path)} cannot be read: {safe(error)}</p>')
    channel, name = _shown_channel(run, parts[0])
    panels = "\n".join(
        f"<figure>{style.slice_panel(image[..., channel], truth, prediction)}"
        f"<figcaption>{safe(label)}: {_overlap(truth, prediction)}</figcaption></figure>"
        for image, truth, prediction, label in zip(*parts, strict=True)
    )
    return Html(
        f'<p class="note">Validation slices as {safe(words)}, trial {safe(trial)}, saw them at '
        f"epoch {epoch}: {safe(name)}, and {safe(name)} with {_key(style.TRUTH)}truth and "
        f"{_key(style.PREDICTION)}prediction outlined. Brightness is scaled slice by slice.</p>"
        f'<div class="slices">{panels}</div>'
    )


def _shown_channel(run: Run, images_NHWC: NDArray[np.uint8]) -> tuple[int, str]:
    """FLAIR where the layout tells which it is, else the first."""
    names, channels = recorded_names(read_json(run.sweep)["data"]), images_NHWC.shape[3]
    shown = flair_channel(names, channels) or 0
    known = len(names) == channels
    return shown, names[shown] if known else f"channel {shown + 1} of {channels}"


def _key(colour: str) -> str:
    return f'<span class="key" style="background:{colour}"></span>'


def _overlap(truth_HW: NDArray[np.uint8], prediction_HW: NDArray[np.uint8]) -> str:
    truth, prediction = truth_HW > 0, prediction_HW > 0
    pixels = int(truth.sum() + prediction.sum())
    if not pixels:
        return "no tumour, none predicted"
    return f"slice Dice {2 * int((truth & prediction).sum()) / pixels:.2f}"


def _ended_early(frame: pd.DataFrame) -> Html:
    early = frame[frame["state"].isin(["failed", "stopped"])].sort_values("state", kind="stable")
    rows = [
        {
            "trial": row["trial"],
            "model": row["arm"],
            "state": row["state"],
            "epochs": row["epochs"],
            "Dice": results.number(row["dice"]),
            "why": row["reason"],
        }
        for row in early.to_dict("records")
    ]
    return table(rows, [""] * len(rows), words=WORDS, wrapped=WRAPPED)


def _costs(run: Run) -> Html:
    """Device time by phase and by how trials ended, and what early stopping saved."""
    spent = ledger(run)
    if spent.trials.empty:
        return Html()
    seconds, unit = unit_of(spent.trials["total"].sum())
    rows = [
        {
            "phase": row["phase"],
            "state": row["state"],
            "trials": row["trials"],
            "epochs": row["epochs"],
            **{part: f"{row[part] / seconds:.2f}" for part in PARTS},
            unit: f"{row['total'] / seconds:.2f}",
            "epochs saved": row["saved_epochs"] or "",
            "about": f"{row['saved'] / seconds:.2f}" if row["saved_epochs"] else "",
        }
        for row in spent.by_phase().to_dict("records")
    ]
    costs = table(rows, [""] * len(rows), words=("phase", "state"))
    note = f'<p class="note">In {unit}. {NOT_COUNTED}</p>'
    return Html(f"<p>{safe(spent.sentence())}</p>\n{costs}{note}")


def _replay(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
    if not (frame["rank"].notna().any() or (in_folds(sweep) and len(frame))):
        return Html()
    trial = frame["trial"].iloc[0]
    params = next(record.params for record in run.trials() if record.trial == trial)
    return Html(f"<pre>{safe(results.replay(sweep, trial, params))}</pre>")
