"""What a sweep found, read from its records: a ranking, results.csv, and a page that opens anywhere."""

import math
import shlex
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg import figures
from brainseg.config import TrialConfig
from brainseg.figures import Curve
from brainseg.records import Run, TrialRecord, read_json, write_text
from brainseg.space import flatten
from brainseg.sweep import Split

SCORES = ("iou", "micro_dice", "tumour_slice_dice", "slice_dice_empty1", "false_alarm")
COLUMNS = [
    *("trial", "arm", "state", "dice", "dice_q1", "dice_median", "dice_q3", "patients", *SCORES),
    *("best_epoch", "epochs", "lr", "schedule", "device_seconds", "parameters", "reason"),
]
PATIENTS = ["patient", "slices", "tumour_slices", "tp", "fp", "fn", "dice", "iou"]
PANELS = 12  # of a trial's slices; more would make the page heavy
NOTHING = "predicts nothing (looks at no image)"
UNSURE = (
    "One split and one seed make a search result, not yet a proof. Differences smaller than the "
    "spread over patients may be noise, and the same patients chose the epoch and the trial."
)
LEAK = (
    "Split by slices: it leaks. Slices of one patient are in train and in validation, so the "
    "scores say little about new patients."
)
MADE_UP = "These patients are made up: the scores say nothing about real scans."
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
    "false alarm": "Share of the slices without tumour in which some is predicted. Lower is better.",
    "epochs": "The best epoch, whose scores these are / how many were finished.",
    "device time": "How long the trial held its devices, times their number.",
}


def ranking(run: Run) -> pd.DataFrame:
    """One row a trial, best validation ``dice`` first; failed and scoreless ones follow unranked.

    Scores are those of the best epoch, so far where a trial still runs. ``dice_q1``,
    ``dice_median`` and ``dice_q3`` are quartiles over the validation ``patients``, whose mean
    ``dice`` is; ``epochs`` are those finished; ``lr`` is the peak of the schedule.
    """
    rows = [_row(run, record) for record in run.trials()]
    ranked = [row for row in rows if row["state"] != "failed" and math.isfinite(row["dice"])]
    ranked.sort(key=lambda row: -row["dice"])
    places = {row["trial"]: place for place, row in enumerate(ranked, start=1)}
    rest = [row for row in rows if row["trial"] not in places]
    frame = pd.DataFrame(ranked + rest, columns=COLUMNS)
    frame.insert(0, "rank", frame["trial"].map(places).astype("Int64"))
    return frame


def write_results(run: Run) -> Path:
    """Write results.csv: the ranking, and each trial's hyperparameters as ``params.<path>``."""
    frame = ranking(run)
    params = {record.trial: record.params for record in run.trials()}
    columns = pd.DataFrame([params[trial] for trial in frame["trial"]], index=frame.index)
    table = pd.concat([frame, columns.add_prefix("params.")], axis=1)
    write_text(run.results, table.to_csv(index=False))
    return run.results


def nothing(patients: pd.DataFrame) -> dict[str, float]:
    """The scores of a predictor that marks no pixel, and so needs to look at no image."""
    without_tumour = float((patients["tp"] + patients["fn"] == 0).mean())
    empty = 1 - patients["tumour_slices"].sum() / patients["slices"].sum()
    known = {"dice": without_tumour, "iou": without_tumour, "slice_dice_empty1": float(empty)}
    return dict.fromkeys(SCORES, 0.0) | known


def replay(sweep: Mapping[str, Any], trial: str, params: Mapping[str, Any]) -> str:
    """The command that trains one configuration again, on the same data and split."""
    options = {"--data": sweep["data"]["root"], "--name": f"{sweep['name']}-{trial}"}
    split, usual = sweep["split"], Split()
    for option, value, default in (
        ("--split", split["by"], usual.by),
        ("--validation", split["validation"], usual.validation),
        ("--test", split["test"], usual.test),
    ):
        if value != default:
            options[option] = str(value)
    default_params = flatten(TrialConfig())
    words = [f"{option} {shlex.quote(value)}" for option, value in options.items()]
    words += [
        f"--set {shlex.quote(f'{path}={value}')}"
        for path, value in params.items()
        if default_params.get(path) != value
    ]
    return "brainseg train " + " \\\n  ".join(words)


def answer(run: Run, frame: pd.DataFrame) -> str:
    """What the sweep found, in an honest sentence."""
    ranked = frame[frame["rank"].notna()]
    if ranked.empty:
        return "No trial has finished with a score."
    first = ranked.iloc[0]
    so_far = " so far" if frame["state"].isin(["queued", "running"]).any() else ""
    said = f"{first.arm} (trial {first.trial}) scored highest{so_far}: mean Dice {first.dice:.3f}"
    if first.patients:
        said += (
            f" over {first.patients} validation patients, half of them between "
            f"{first.dice_q1:.2f} and {first.dice_q3:.2f}"
        )
    if len(ranked) > 1:
        second = ranked.iloc[1]
        said += f"; {first.dice - second.dice:.3f} above {second.arm} (trial {second.trial})"
        said += _duel(_patients(run, first.trial), _patients(run, second.trial))
    return f"{said}. Not yet confirmed."


def print_ranking(run: Run, console: Console) -> None:
    """The ranking as a table for a terminal, and underneath what its figures mean."""
    sweep, frame = read_json(run.sweep), ranking(run)
    console.print(Text(sweep["question"], style="bold"))
    console.print(Text(answer(run, frame)))
    if len(frame):
        console.print(_terminal_table(frame, _reference(run, frame)))
    for row in frame[frame["state"] == "failed"].to_dict("records"):
        console.print(Text(f"{row['trial']} failed: {row['reason']}", style="red"))
    for note in _notes(run, sweep):
        console.print(Text(note, style="dim"))
    for path in filter(Path.exists, (run.report, run.results)):
        console.print(Text(str(path)), soft_wrap=True)


def write_report(run: Run) -> Path:
    """Write report.html: one file that loads nothing from anywhere."""
    sweep, frame = read_json(run.sweep), ranking(run)
    best, others = _curves(run, frame)
    with_patients = [curve for curve in best if len(curve.patients)]
    sections = {
        "Ranking": _ranking_table(frame, _reference(run, frame)),
        "Validation Dice": _dice_figure(best, others),
        "Loss and learning rate": _loss_figure(best),
        "Patients": _patient_figure(with_patients),
        "Slices": _slices(run, frame),
        "Stopped and failed": _ended_early(frame),
        "Train the leader again": _replay(run, sweep, frame),
        "What the columns mean": _pairs(METRICS),
        "Searched": _pairs(sweep["space"]),
        "All other settings": _pairs(_held(sweep)),
        "Versions": _pairs(sweep["versions"]),
    }
    body = "".join(
        f"<section><h2>{title}</h2>{text}</section>" for title, text in sections.items() if text
    )
    write_text(
        run.report,
        PAGE.format(
            title=safe(sweep["name"]),
            style=STYLE,
            head=_head(run, sweep, frame),
            body=body,
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        ),
    )
    return run.report


def _row(run: Run, record: TrialRecord) -> dict[str, Any]:
    folder, params = run.trial(record.trial), record.params
    epochs = folder.rows()
    best = _best(record, epochs)
    low, median, high = _patients(run, record.trial)["dice"].quantile([0.25, 0.5, 0.75])
    return (
        vars(record)
        | {score: best.get(score, math.nan) for score in SCORES}
        | {
            "dice": best.get("dice", math.nan) if record.dice is None else record.dice,
            "dice_q1": low,
            "dice_median": median,
            "dice_q3": high,
            "patients": len(_patients(run, record.trial)),
            "best_epoch": best.get("epoch", record.best_epoch),
            "epochs": max([record.epoch, *(row["epoch"] for row in epochs)]),
            "lr": params.get(f"optimizer.{params.get('optimizer')}.lr", math.nan),
            "schedule": params.get("schedule", ""),
            "device_seconds": record.device_seconds
            or sum(row["seconds"] * row.get("devices", 1) for row in epochs),
            "parameters": best.get("parameters", math.nan),
        }
    )


def _best(record: TrialRecord, epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the best epoch: the one noted, or the best so far."""
    scored = [row for row in epochs if math.isfinite(row["dice"])]
    noted = [row for row in scored if row["epoch"] == record.best_epoch]
    return max(noted or scored, key=lambda row: row["dice"], default={})


def _patients(run: Run, trial: str) -> pd.DataFrame:
    """One row a validation patient at the trial's best epoch; no rows before there is one."""
    path = run.trial(trial).patients
    if not path.exists():
        return pd.DataFrame(columns=PATIENTS, dtype=float)
    return pd.read_csv(path, converters={"patient": str})  # a patient may be called NA


def _duel(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    both = ours.merge(theirs, on="patient")
    if both.empty:
        return ""
    return f", better on {(both['dice_x'] > both['dice_y']).sum()} of {len(both)} patients"


def _reference(run: Run, frame: pd.DataFrame) -> dict[str, float]:
    """What predicting nothing scores; the validation patients are the same for every trial."""
    tables = (_patients(run, trial) for trial in frame["trial"])
    return next((nothing(table) for table in tables if len(table)), {})


def _curves(run: Run, frame: pd.DataFrame) -> tuple[list[Curve], list[Curve]]:
    """The best few in colour, and all others; trials without an epoch have no curve."""
    params = {record.trial: record.params for record in run.trials()}
    best, others = [], []
    for row in frame.to_dict("records"):
        epochs = pd.DataFrame(run.trial(row["trial"]).rows())
        if epochs.empty:
            continue
        loss = params[row["trial"]].get("loss", "")
        curve = Curve(
            row["trial"], row["arm"], epochs, row["best_epoch"], _patients(run, row["trial"]), loss
        )
        if pd.notna(row["rank"]) and len(best) < len(figures.COLOURS):
            best.append(replace(curve, colour=figures.COLOURS[len(best)]))
        else:
            others.append(curve)
    return best, others


def _notes(run: Run, sweep: Mapping[str, Any]) -> list[str]:
    split = sweep["split"]
    sides = {record.params.get("image_size") for record in run.trials()} - {None}
    pixels = " or ".join(f"{side}x{side}" for side in sorted(sides)) or "?"
    return [
        f"Dice: mean over the validation patients of each one's volume Dice, at {pixels} pixels.",
        f"Split by {split['by']}, seed {split['seed']}: {_parts(split)}.",
        *([LEAK] if split["by"] == "slices" else []),
        *([MADE_UP] if sweep["data"]["made_up"] else []),
        UNSURE,
    ]


def _parts(split: Mapping[str, Any]) -> str:
    counts = split["counts"]
    return ", ".join(
        f"{part} {counts[part]['patients']} patients / {counts[part]['slices']} slices"
        for part in ("train", "validation", "test")
        if part in counts
    )


def _terminal_table(frame: pd.DataFrame, reference: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("#", "Trial", "Model", "Dice", "IoU", "Epochs", "State", "Time"):
        right = name in ("#", "Dice", "IoU", "Epochs", "Time")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "Model")
    for row in frame.to_dict("records"):
        place = "" if pd.isna(row["rank"]) else str(row["rank"])
        cells = [
            place,
            row["trial"],
            row["arm"],
            _number(row["dice"]),
            _number(row["iou"]),
            f"{row['best_epoch']}/{row['epochs']}",
            row["state"],
            _duration(row["device_seconds"]),
        ]
        table.add_row(*map(Text, cells), style={"": "dim", "1": "bold"}.get(place))
    if reference:
        table.add_section()
        scores = (_number(reference["dice"]), _number(reference["iou"]))
        table.add_row("", "", NOTHING, *scores, style="dim")
    return table


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Html(str):
    """Text that is markup already; any other text is escaped before it enters the page."""


def safe(value: object) -> Html:
    return value if isinstance(value, Html) else Html(escape(str(value)))


def _table(
    head: Sequence[str], rows: Iterable[tuple[str, Sequence[object]]], numbers: Iterable[str] = ()
) -> Html:
    """Rows are (class, cells); columns named in ``numbers`` are set flush right."""
    classes = ["n" if name in set(numbers) else "" for name in head]
    top = "".join(
        f'<th class="{c}" scope="col">{safe(name)}</th>'
        for c, name in zip(classes, head, strict=True)
    )
    body = "".join(
        f'<tr class="{kind}">'
        + "".join(
            f'<td class="{c}">{safe(cell)}</td>' for c, cell in zip(classes, cells, strict=True)
        )
        + "</tr>"
        for kind, cells in rows
    )
    return Html(
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _pairs(values: Mapping[str, Any]) -> Html:
    rows = "".join(
        f"<tr><th scope=row>{safe(k)}</th><td>{safe(v)}</td></tr>" for k, v in values.items()
    )
    return (
        Html(f'<div class="scroll"><table class="pairs">{rows}</table></div>') if rows else Html()
    )


def _figure(svg: str, caption: str) -> Html:
    return Html(
        f'<figure><div class="scroll">{svg}</div><figcaption>{safe(caption)}</figcaption></figure>'
    )


def _head(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
    data, split = sweep["data"], sweep["split"]
    warnings = [LEAK] * (split["by"] == "slices") + [MADE_UP] * data["made_up"]
    states = Counter(frame["state"])
    ended = ", ".join(
        f"{states[s]} {s}" for s in ("done", "stopped", "failed", "running", "queued") if states[s]
    )
    spent = (
        f"{frame['epochs'].sum()} epochs, {_duration(frame['device_seconds'].sum())} of device time"
    )
    facts = {
        "Data": f"{data['patients']} patients, {data['slices']} slices, {data['tumour_slices']} of "
        f"them with tumour; {data['root']}; fingerprint {data['fingerprint'][:12]}",
        "Split": f"By {split['by']}, seed {split['seed']}: {_parts(split)}. The search never sees test.",
        "Spent": f"{len(frame)} trials: {ended}; {spent}" if ended else "No trial yet",
        "Search": "; ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in sweep["strategy"].items()
        ),
        "Begun": f"{sweep['made']}; id {sweep['uid']}; {sweep['command']}",
    }
    return Html(
        f'<p class="over">brainseg · sweep {safe(sweep["name"])}</p><h1>{safe(sweep["question"])}</h1>'
        + f'<p class="lead">{safe(answer(run, frame))}</p><p class="note">{UNSURE}</p>'
        + "".join(f'<p class="warn">{safe(text)}</p>' for text in warnings)
        + '<dl class="facts">'
        + "".join(
            f"<div><dt>{name}</dt><dd>{safe(text)}</dd></div>" for name, text in facts.items()
        )
        + "</dl>"
    )


def _ranking_table(frame: pd.DataFrame, reference: Mapping[str, float]) -> Html:
    if frame.empty:
        return Html()
    head = [
        "#",
        "trial",
        "model",
        "Dice",
        "over patients",
        "IoU",
        "micro Dice",
        "tumour slices",
        "empty = 1",
        "false alarm",
        "epochs",
        "learning rate",
        "schedule",
        "parameters",
        "device time",
        "state",
    ]
    rows: list[tuple[str, list[object]]] = []
    for row in frame.to_dict("records"):
        ranked = pd.notna(row["rank"])
        kind = "rest" if not ranked else "first" if row["rank"] == 1 else ""
        rows.append(
            (
                kind,
                [
                    _place(row["rank"]) if ranked else "",
                    row["trial"],
                    row["arm"],
                    _number(row["dice"]),
                    _quartiles(row),
                    *(_number(row[score]) for score in SCORES),
                    f"{row['best_epoch']} / {row['epochs']}",
                    f"{row['lr']:.1e}" if row["lr"] > 0 else "",
                    row["schedule"],
                    f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] > 0 else "",
                    _duration(row["device_seconds"]),
                    row["state"],
                ],
            )
        )
    if reference:
        scores = [_number(reference[score]) for score in SCORES]
        rows.append(
            ("reference", ["", "", NOTHING, _number(reference["dice"]), "", *scores, *[""] * 6])
        )
    if not (frame["parameters"] > 0).any():
        where = head.index("parameters")
        head.pop(where)
        for _, cells in rows:
            cells.pop(where)
    return _table(
        head, rows, numbers=set(head) - {"trial", "model", "over patients", "schedule", "state"}
    )


def _place(rank: int) -> Html:
    """The rank, with the trial's colour in the figures."""
    if rank > len(figures.COLOURS):
        return Html(rank)
    return Html(f'<span style="color:{figures.COLOURS[rank - 1]}">●</span> {rank}')


def _quartiles(row: Mapping[str, Any]) -> Html:
    if not row["patients"]:
        return Html()
    low, median, high, mean = (row[k] for k in ("dice_q1", "dice_median", "dice_q3", "dice"))
    return Html(
        '<svg class="range" viewBox="0 0 100 12" preserveAspectRatio="none">'
        '<rect y="5.5" width="100" height="1" fill="#e3e6ea"/>'
        f'<rect x="{100 * low:.1f}" y="3" width="{100 * (high - low):.1f}" height="6" fill="#aeb6c1"/>'
        f'<rect x="{100 * median - 0.5:.1f}" y="1" width="1.2" height="10" fill="#1b1f24"/>'
        f'<circle cx="{100 * mean:.1f}" cy="6" r="2" fill="#fff" stroke="#1b1f24"/></svg> '
        f"{low:.2f}–{high:.2f}"
    )


def _dice_figure(best: Sequence[Curve], others: Sequence[Curve]) -> Html:
    if not best + others:
        return Html()
    return _figure(
        figures.dice_curves(best, others),
        f"In colour the best {len(best)}, each with a dot at its best epoch and its score there; in grey "
        f"{len(others)} others, each with a dot where it ended. Point at a curve to see which it is.",
    )


def _loss_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    return _figure(figures.loss_curves(best), "Losses of different kinds share no scale.")


def _patient_figure(best: Sequence[Curve]) -> Html:
    if not best:
        return Html()
    dice = (
        pd.concat([curve.patients for curve in best]).groupby("patient")["dice"].mean().nsmallest(3)
    )
    hardest = ", ".join(f"{patient} ({mean:.2f})" for patient, mean in dice.items())
    return _figure(
        figures.patient_dots(best),
        "A dot is a patient; bar over the middle half, line at the median, diamond at the mean. "
        f"Hardest, by the mean over these trials: {hardest}.",
    )


def _slices(run: Run, frame: pd.DataFrame) -> Html:
    """Image, truth and prediction of the leader."""
    ranked = frame[frame["rank"].notna()]
    if ranked.empty or not (path := run.trial(ranked["trial"].iloc[0]).panels).exists():
        return Html()
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = [file[name][:PANELS] for name in ("images", "truths", "predictions", "labels")]
            epoch = int(file["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        return Html(f'<p class="note">{safe(path)} cannot be read: {safe(error)}</p>')
    pictures = [
        f"<figure>{figures.slice_panel(image[..., 1], truth, prediction)}"
        f"<figcaption>{safe(label)}: {_overlap(truth, prediction)}</figcaption></figure>"
        for image, truth, prediction, label in zip(*parts, strict=True)
    ]
    return Html(
        f'<p class="note">Validation slices as trial {safe(path.parent.name)} saw them after epoch {epoch}: '
        f'FLAIR, and FLAIR with <span class="key" style="background:{figures.TRUTH}"></span>truth '
        f'and <span class="key" style="background:{figures.PREDICTION}"></span>prediction outlined; '
        f'each is as bright as its own range allows.</p><div class="slices">{"".join(pictures)}</div>'
    )


def _overlap(truth_HW: np.ndarray, prediction_HW: np.ndarray) -> str:
    truth, prediction = truth_HW > 0, prediction_HW > 0
    pixels = int(truth.sum() + prediction.sum())
    return (
        f"slice Dice {2 * int((truth & prediction).sum()) / pixels:.2f}"
        if pixels
        else "no tumour, none predicted"
    )


def _ended_early(frame: pd.DataFrame) -> Html:
    rows = [
        (
            "",
            [
                row["trial"],
                row["arm"],
                row["state"],
                row["epochs"],
                _number(row["dice"]),
                row["reason"],
            ],
        )
        for row in frame.sort_values("state", kind="stable").to_dict("records")
        if row["state"] in ("stopped", "failed")
    ]
    head = ["trial", "model", "state", "epochs", "Dice", "why"]
    return _table(head, rows, numbers=["epochs", "Dice"]) if rows else Html()


def _replay(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
    if not frame["rank"].notna().any():
        return Html()
    trial = frame["trial"].iloc[0]
    params = next(record.params for record in run.trials() if record.trial == trial)
    return Html(f"<pre>{safe(replay(sweep, trial, params))}</pre>")


def _held(sweep: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in sweep["base"].items() if path not in sweep["space"]}


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
<header>{head}</header>
{body}
<footer class="note">Written by brainseg on {written}. Not a medical device.</footer>
</body>
</html>
"""
STYLE = """
:root { --ink: #1b1f24; --faint: #5d6571; --line: #e3e6ea; --wash: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { margin: .2rem 0 1rem; font-size: 2.1rem; line-height: 1.2; letter-spacing: -.015em; max-width: 50rem; }
h2 { margin: 3rem 0 .6rem; font-size: 1.25rem; letter-spacing: -.01em; }
p, figcaption { max-width: 50rem; margin: .5rem 0; }
p, td, dd, figcaption { overflow-wrap: anywhere; }
.lead { font-size: 1.2rem; line-height: 1.5; }
.over, .note, figcaption, dt { color: var(--faint); font-size: .875rem; }
.warn { padding: .7rem 1rem; border-left: 4px solid #d55e00; background: #fdf1e7; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem 2rem;
  margin: 2rem 0 0; padding: 1.2rem 0; border: solid var(--line); border-width: 1px 0; font-size: .875rem; }
.facts dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8125rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); vertical-align: bottom; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); }
td, .pairs th { vertical-align: top; }
th.n, td.n { text-align: right; }
td.n { white-space: nowrap; }
tbody tr:hover { background: var(--wash); }
.first td { font-weight: 600; }
.rest td, .reference td { color: var(--faint); }
figure { margin: 1rem 0; }
figure svg { display: block; width: 100%; min-width: 44rem; height: auto; }
svg text { font-family: inherit !important; }
.range { width: 6rem; height: .8rem; vertical-align: -.1rem; }
.slices { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.2rem; }
.slices figure { margin: 0; }
.slices svg { min-width: 0; fill: none; background: #000; }
.key { display: inline-block; width: 1.4em; height: .3em; margin: 0 .35em; vertical-align: .2em; }
pre { padding: .9rem 1rem; background: var(--wash); font-size: .8125rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { padding: 0; max-width: none; }
  .scroll { overflow: visible; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
}
"""
