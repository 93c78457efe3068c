"""The report of a sweep as one HTML page, which loads nothing and so opens anywhere."""

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg import figures, report
from brainseg.figures import Curve
from brainseg.records import ENDED, Run, read_json, write_text

HEADS = {  # what the table calls the scores
    "iou": "IoU",
    "micro_dice": "micro Dice",
    "tumour_slice_dice": "tumour slices",
    "slice_dice_empty1": "empty = 1",
    "false_alarm": "false alarm",
}
WORDS = ("trial", "over patients", "schedule", "state")  # columns that are no numbers
WRAPPED = ("model", "why")
PANELS = 12  # of a trial's slices; more would make the page heavy
METRICS = {
    "Dice": "The score that ranks. Per patient, over all slices at once, 2tp / (2tp + fp + fn) in "
    "pixels; then the mean over patients. A patient without tumour counts 1 if nothing is "
    "predicted, else 0.",
    "over patients": "The validation patients' own Dice on an axis from 0 to 1: bar over the "
    "middle half (its ends stand beside it), line at the median, dot at the mean.",
    "IoU": "The same with tp / (tp + fp + fn).",
    "micro Dice": "2tp / (2tp + fp + fn) over the pixels of all patients together.",
    "tumour slices": "Mean slice Dice over the slices that have tumour.",
    "empty = 1": "Mean slice Dice over all slices, an empty slice left empty counting 1. Many "
    "notebooks report it; what predicting nothing scores is in the last row of the ranking.",
    "false alarm": "Share of the slices without tumour in which some is predicted; less is better.",
    "epochs": "The best, whose scores these are / how many were finished.",
    "device time": "How long the trial held its devices, times their number.",
}


class Html(str):
    """Text that is markup already; any other text is escaped before it enters the page."""


def safe(value: object) -> Html:
    """``value`` escaped, unless it is markup already."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def write_report(run: Run) -> Path:
    """Write report.html: one file that loads nothing from anywhere."""
    sweep, frame = read_json(run.sweep), report.ranking(run)
    best, others = _curves(run, frame)
    sections = {
        "Ranking": _ranking_table(frame, report.reference(run, frame)),
        "Validation Dice": _dice_figure(best, others),
        "Loss and learning rate": _loss_figure(best),
        "Patients": _patient_figure([curve for curve in best if len(curve.patients)]),
        "Slices": _slices(run, frame),
        "Stopped and failed": _ended_early(frame),
        "Train the leader again": _replay(run, sweep, frame),
        "What the columns mean": _pairs(METRICS),
        "Searched": _pairs(sweep["space"]),
        "Held": _pairs({k: v for k, v in sweep["base"].items() if k not in sweep["space"]}),
        "Versions": _pairs(sweep["versions"]),
    }
    page = PAGE.format(
        title=safe(sweep["name"]),
        style=STYLE,
        head=_head(run, sweep, frame),
        body="\n".join(f"<h2>{name}</h2>\n{part}" for name, part in sections.items() if part),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    write_text(run.report, page)
    return run.report


def _head(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
    facts = "".join(
        f"<div><dt>{name}</dt>{''.join(f'<dd>{safe(line)}</dd>' for line in lines)}</div>"
        for name, lines in _facts(sweep, frame).items()
    )
    return Html(
        f'<p class="note">brainseg · sweep {safe(sweep["name"])}</p>\n'
        f"<h1>{safe(sweep['question'])}</h1>\n"
        f'<p class="lead">{safe(report.answer(run, frame))}</p>\n'
        f'<p class="note">{report.UNSURE}</p>\n'
        f"{''.join(f'<p class=warn>{text}</p>' for text in report.warnings(sweep))}\n"
        f'<dl class="facts">{facts}</dl>'
    )


def _facts(sweep: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, list[str]]:
    data, split = sweep["data"], sweep["split"]
    states = Counter(frame["state"])
    order = [state for state in (*ENDED, "running", "queued") if states[state]]
    strategy = sweep["strategy"].items()
    return {
        "Data": [
            f"{data['patients']} patients, {data['slices']} slices, "
            f"{data['tumour_slices']} of them with tumour",
            data["root"],
            f"fingerprint {data['fingerprint'][:12]}",
        ],
        "Split": [
            f"by {split['by']}, seed {split['seed']}",
            *report.parts(split),
            "the search never sees test",
        ],
        "Trials": [
            ", ".join(f"{states[state]} {state}" for state in order) or "none yet",
            f"{frame['epochs'].sum()} epochs",
            f"{frame['device_seconds'].sum() / 3600:.2f} device-hours",
        ],
        "Search": [f"{name.replace('_', ' ')} {value}" for name, value in strategy],
        "Command": [sweep["command"]],
        "Begun": [sweep["made"], f"id {sweep['uid']}"],
    }


def _ranking_table(frame: pd.DataFrame, reference: Mapping[str, float]) -> Html:
    rows, kinds = [], []
    for row in frame.to_dict("records"):
        rows.append(
            {
                "#": _place(row["rank"]),
                "trial": row["trial"],
                "model": row["arm"],
                "Dice": report.number(row["dice"]),
                "over patients": _quartiles(row),
                **{name: report.number(row[score]) for score, name in HEADS.items()},
                "epochs": f"{row['best_epoch']} / {row['epochs']}" if row["epochs"] else "",
                "learning rate": f"{row['lr']:.1e}" if row["lr"] > 0 else "",
                "schedule": row["schedule"],
                "device time": report.duration(row["device_seconds"]),
                "state": row["state"],
            }
        )
        kinds.append("faint" if pd.isna(row["rank"]) else "first" if row["rank"] == 1 else "")
    if reference:
        scores = {name: report.number(reference[score]) for score, name in HEADS.items()}
        rows.append({"model": report.NOTHING, "Dice": report.number(reference["dice"]), **scores})
        kinds.append("faint")
    return _table(rows, kinds)


def _place(rank: Any) -> Html:
    """The rank, with the trial's colour in the figures."""
    if pd.isna(rank):
        return Html()
    colours = dict(enumerate(figures.COLOURS, start=1))
    dot = f'<span style="color:{colours[rank]}">●</span> ' if rank in colours else ""
    return Html(f"{dot}{rank}")


def _quartiles(row: Mapping[Any, Any]) -> Html:
    if not row["patients"]:
        return Html()
    low, high = row["dice_q1"], row["dice_q3"]
    bar = figures.quartile_bar(low, row["dice_median"], high, row["dice"])
    return Html(f"{bar} {low:.2f} to {high:.2f}")


def _table(rows: Sequence[Mapping[str, object]], kinds: Sequence[str]) -> Html:
    """The first row names the columns; ``kinds`` are the rows' classes."""
    if not rows:
        return Html()
    classes = {name: "w" if name in WRAPPED else "" if name in WORDS else "n" for name in rows[0]}
    head = "".join(f'<th class="{kind}">{safe(name)}</th>' for name, kind in classes.items())
    body = "\n".join(
        f'<tr class="{row_kind}">'
        + "".join(f'<td class="{kind}">{safe(row.get(k, ""))}</td>' for k, kind in classes.items())
        + "</tr>"
        for row, row_kind in zip(rows, kinds, strict=True)
    )
    return _scroll(f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>")


def _pairs(values: Mapping[str, Any]) -> Html:
    rows = "".join(f"<tr><th>{safe(k)}</th><td>{safe(v)}</td></tr>" for k, v in values.items())
    return _scroll(f'<table class="pairs"><tbody>{rows}</tbody></table>') if rows else Html()


def _scroll(markup: str) -> Html:
    return Html(f'<div class="scroll">{markup}</div>')


def _figure(svg: str, caption: str) -> Html:
    return Html(f"<figure>{_scroll(svg)}<figcaption>{safe(caption)}</figcaption></figure>")


def _curves(run: Run, frame: pd.DataFrame) -> tuple[list[Curve], list[Curve]]:
    """The best few in colour, and all others; trials without an epoch have no curve."""
    params = {record.trial: record.params for record in run.trials()}
    best: list[Curve] = []
    others: list[Curve] = []
    for row in frame.to_dict("records"):
        epochs = pd.DataFrame(run.trial(row["trial"]).rows())
        if epochs.empty:
            continue
        loss = params[row["trial"]].get("loss", "")
        curve = Curve(
            row["trial"],
            row["arm"],
            epochs,
            row["best_epoch"],
            report.patients(run, row["trial"]),
            loss,
        )
        if pd.notna(row["rank"]) and len(best) < len(figures.COLOURS):
            best.append(replace(curve, colour=figures.COLOURS[len(best)]))
        else:
            others.append(curve)
    return best, others


def _dice_figure(best: Sequence[Curve], others: Sequence[Curve]) -> Html:
    if not (best or others):
        return Html()
    return _figure(
        figures.dice_curves(best, others),
        "In colour the best, with a dot at their best epoch and the score there; in grey all "
        "others, with a dot where they ended. Point at a curve for its name.",
    )


def _loss_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    caption = "The learning rate is the one at each epoch's end."
    if len({curve.loss for curve in best}) > 1:
        caption += " Losses of different kinds share no scale."
    return _figure(figures.loss_curves(best), caption)


def _patient_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    patients = pd.concat([curve.patients for curve in best]).groupby("patient")["dice"]
    hardest = (f"{name} ({dice:.2f})" for name, dice in patients.mean().nsmallest(3).items())
    return _figure(
        figures.patient_dots(best),
        "A dot is a patient; bar over the middle half, line at the median, diamond at the mean. "
        f"Hardest, by the mean over these trials: {', '.join(hardest)}.",
    )


def _slices(run: Run, frame: pd.DataFrame) -> Html:
    """Image, truth and prediction of the leader."""
    ranked = frame[frame["rank"].notna()]
    if ranked.empty or not (path := run.trial(ranked["trial"].iloc[0]).panels).exists():
        return Html()
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ("images", "truths", "predictions", "labels")
            parts, epoch = [file[name][:PANELS] for name in names], int(file["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        return Html(f'<p class="note">{safe(path)} cannot be read: {safe(error)}</p>')
    panels = "\n".join(
        f"<figure>{figures.slice_panel(image[..., 1], truth, prediction)}"
        f"<figcaption>{safe(label)}: {_overlap(truth, prediction)}</figcaption></figure>"
        for image, truth, prediction, label in zip(*parts, strict=True)
    )
    return Html(
        f'<p class="note">Validation slices as trial {safe(path.parent.name)} saw them at epoch '
        f"{epoch}: FLAIR, and FLAIR with {_key(figures.TRUTH)}truth and "
        f"{_key(figures.PREDICTION)}prediction outlined. Brightness is scaled slice by slice.</p>"
        f'<div class="slices">{panels}</div>'
    )


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
            "Dice": report.number(row["dice"]),
            "why": row["reason"],
        }
        for row in early.to_dict("records")
    ]
    return _table(rows, [""] * len(rows))


def _replay(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
    if not frame["rank"].notna().any():
        return Html()
    trial = frame["trial"].iloc[0]
    params = next(record.params for record in run.trials() if record.trial == trial)
    return Html(f"<pre>{safe(report.replay(sweep, trial, params))}</pre>")


PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · brainseg</title>
<style>{style}</style>
</head>
<body>
{head}
{body}
<footer class="note">Written by brainseg on {written}. Not a medical device.</footer>
</body>
</html>
"""
STYLE = """
:root { --ink: #1b1f24; --faint: #5d6571; --line: #e3e6ea; --wash: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem;
  background: #fff; color: var(--ink); font: 16px/1.55 -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif; }
h1 { margin: .2rem 0 1rem; max-width: 50rem; font-size: 2.1rem; line-height: 1.2; }
h2 { margin: 3rem 0 .6rem; font-size: 1.25rem; }
p, figcaption { max-width: 50rem; margin: .5rem 0; }
p, td, dd, figcaption { overflow-wrap: break-word; }
.lead { font-size: 1.2rem; line-height: 1.5; }
.note, figcaption, dt { color: var(--faint); font-size: .875rem; }
.warn { padding: .7rem 1rem; border-left: 4px solid #d55e00; background: #fdf1e7; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr));
  gap: 1.2rem 2rem; margin: 2rem 0 0; padding: 1.2rem 0; border: solid var(--line);
  border-width: 1px 0; font-size: .875rem; }
.facts dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8125rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); vertical-align: bottom; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); }
td { vertical-align: top; white-space: nowrap; }
.n { text-align: right; }
.w, .pairs td { min-width: 9rem; white-space: normal; }
.pairs th { vertical-align: top; white-space: nowrap; }
tbody tr:hover { background: var(--wash); }
.first td { font-weight: 600; }
.faint td { color: var(--faint); }
.quartiles { width: 6.5rem; height: .65rem; }
figure { margin: 1rem 0; }
figure svg { display: block; width: 100%; min-width: 44rem; height: auto; }
svg text { font-family: inherit !important; }
.slices { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.slices figure { margin: 0; }
.slices svg { min-width: 0; fill: none; background: #000; }
.slices path { vector-effect: non-scaling-stroke; }
.key { display: inline-block; width: 1.4em; height: .3em; margin-right: .35em;
  vertical-align: .2em; }
pre { padding: .9rem 1rem; background: var(--wash); font-size: .8125rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { padding: 0; max-width: none; }
  .scroll { overflow: visible; }
  .slices { grid-template-columns: repeat(3, 1fr); }
  h2, p { break-after: avoid; }
  figure, tr, pre { break-inside: avoid; }
}
"""
