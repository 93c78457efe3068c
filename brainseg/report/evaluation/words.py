"""What an opening showed in words and cells, for the terminal and for the page."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from brainseg.data.readers.problems import counted
from brainseg.inference.evaluate.openings import openings_beside as by_others
from brainseg.inference.evaluate.openings import openings_of
from brainseg.inference.evaluate.results import Evaluation
from brainseg.records.run import Run

NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "micro_dice": "Dice of all pixels",
    "micro_iou": "IoU of all pixels",
    "tumour_slice_dice": "Dice, tumour slices",
    "slice_dice_empty1": "Dice, all slices",
    "false_alarm": "False alarms",
    "hd95": "HD95",
    "nsd": "Surface Dice",
    "lesion_sensitivity": "Lesions found",
    "false_lesions": "False lesions",
    "ece": "Calibration error",
    "ece_near": "Calibration error near tumour",
}
RESOLUTIONS = (
    "Below each score its 95 % interval. Native: at the resolution of the files. Training: at that "
    "of the training. Both at the model's threshold; scores.csv also has them at 0.5, at which "
    "trials are scored. The last models look at no image."
)
SHORT = {
    "dice": "Dice",
    "hd95": "HD95",
    "nsd": "Surface\nDice",
    "lesion_sensitivity": "Lesions\nfound",
    "false_lesions": "False\nlesions",
    "ece_near": "Calibration\nerror",
}
LESS = "Less the\nwinner's"
_ENDED = "; it ended before it showed a score"
Row = Mapping[Hashable, Any]


def metric_name(row: Row) -> str:
    """`HD95 (mm)`, `Surface Dice within 1 mm`, `False lesions a patient`."""
    name = NAMES.get(str(row["metric"]), str(row["metric"]))
    unit = str(row["unit"]) if isinstance(row["unit"], str) else ""
    if row["metric"] == "hd95":
        return f"{name} ({unit})"
    return f"{name} {unit}".rstrip()


def digits(row: Row) -> int:
    """Decimals: a distance has one, a share three."""
    return {"hd95": 1, "false_lesions": 2}.get(str(row["metric"]), 3)


def value(row: Row, *, prefix: str = "") -> str:
    """The value of a score, or with "difference" that of its difference; "" where there is none."""
    name = prefix or "value"
    return _fixed(row[name], digits(row), sign=bool(prefix))


def span(row: Row, *, prefix: str = "") -> str:
    """`0.71 to 0.89`; "" where there is no interval."""
    low, high = (f"{prefix}_{end}" if prefix else end for end in ("low", "high"))
    if not (_is_number(row[low]) and _is_number(row[high])):
        return ""
    ends = (_fixed(row[name], digits(row), sign=bool(prefix)) for name in (low, high))
    return " to ".join(ends)


def rows_of(scores: pd.DataFrame, **wanted: str) -> list[Row]:
    """The rows of a table of scores with these cells."""
    for column, cell in wanted.items():
        scores = scores[scores[column] == cell]
    return list(scores.to_dict("records"))


def models(evaluation: Evaluation) -> dict[str, dict[str, tuple[str, str]]]:
    """By model its headline scores: head, value and interval; the Dice also less the winner's."""
    scores = evaluation.scores
    return {
        name: _headline(rows_of(scores, model=name, resolution="native"))
        for name in dict.fromkeys(scores["model"])
    }


def _headline(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    cells = {}
    for row in rows:
        kind = str(row["metric"])
        if kind in SHORT:
            head = SHORT[kind] + (f"\n({row['unit']})" if kind == "hd95" else "")
            cells[head] = (value(row), span(row))
        if kind == "dice":
            cells[LESS] = value(row, prefix="difference"), span(row, prefix="difference")
    return cells


def metric_rows(evaluation: Evaluation, model: str) -> list[dict[str, str]]:
    """A row a metric of a model, at both resolutions."""
    scores = evaluation.scores[evaluation.scores["model"] == model]
    native, half, training = (
        {(row["metric"], row["unit"]): row for row in rows_of(scores, resolution=way)}
        for way in ("native", "native at 0.5", "training")
    )
    rows = []
    for key, row in (training | native).items():
        cells = {
            "Metric": metric_name(row),
            "Native": _of(native.get(key), value),
            "95 % interval": _of(native.get(key), span),
            "At 0.5": _of(half.get(key), value),
            "Training": _of(training.get(key), value),
            "Its interval": _of(training.get(key), span),
            "n": str(row["n"]),
            "Undefined": str(row["undefined"]) if row["undefined"] else "",
        }
        rows.append(cells if half else {head: cells[head] for head in cells if head != "At 0.5"})
    return rows


def _of(row: Row | None, cell: Callable[[Row], str]) -> str:
    return cell(row) if row else ""


def title(evaluation: Evaluation) -> str:
    """`11 locked patients, opened on 2026-12-01 at 04:02 UTC`."""
    data, facts = evaluation.facts["data"], evaluation.facts
    who = (
        counted(int(data["patients"]), "locked patient")
        if facts["kind"] == "locked"
        else f"{counted(int(data['patients']), 'patient')} of {data['name']}"
    )
    time = str(facts["time"])
    return f"{who}, opened on {time[:10]} at {time[11:16]} UTC"


def answer(evaluation: Evaluation) -> str:
    """The winner's Dice at the native resolution, in a sentence."""
    rows = rows_of(evaluation.scores, model=evaluation.winner, resolution="native", metric="dice")
    interval = f" (95 % interval {span(rows[0])})" if span(rows[0]) else ""
    return (
        f"{evaluation.winner}: Dice {value(rows[0])}{interval}, the mean over patients at the "
        f"files' own resolution, threshold {float(rows[0]['threshold']):.2g}."
    )


def volumes(evaluation: Evaluation) -> list[str]:
    """How far the winner's volumes agree with the true ones, a sentence a unit."""
    table = evaluation.agreement
    sentences = []
    for row in table[table["model"] == evaluation.winner].to_dict("records"):
        decimals = 1 if row["volume"] == "ml" else 0
        bias, low, high, lower, upper = (
            f"{row[name]:+,.{decimals}f}"
            for name in ("bias", "bias_low", "bias_high", "lower", "upper")
        )
        sentences.append(
            f"Volume: predicted less true {bias} {row['volume']} on average (95 % interval {low} "
            f"to {high}); 95 % of patients lie between {lower} and {upper} (Bland and Altman's "
            f"limits, {row['patients']} patients)."
        )
    return sentences


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader must know before believing the figures."""
    bad = [f"Left out: {why}" for why in evaluation.facts["bad"].values()]
    return [*evaluation.facts["notes"], *bad]


def rules(evaluation: Evaluation) -> list[str]:
    """What the figures mean, and what undefined cases score: the tables' footnote."""
    return list(map(str, evaluation.facts["rules"]))


def openings_before(run: Run, evaluation: Evaluation) -> list[str]:
    """The earlier openings of the same patients, by this run or one beside it, a sentence each."""
    lines = run.openings()
    number = [line["name"] for line in lines].index(evaluation.facts["name"])
    this, later = lines[number], lines[number:]
    same = openings_of(run, this["kind"], this["fingerprint"], this.get("contents", []))
    return [
        opening(line, by, asked=run)
        for by, line in same
        if (line not in later if by is run else line["time"] <= this["time"])
    ]


def openings_beside(run: Run, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The openings of the same patients as those of ``lines`` by runs beside this one."""
    sentences = [
        opening(line, by, asked=run)
        for of in lines
        for by, line in by_others(run, of["kind"], of["fingerprint"], of.get("contents", []))
    ]
    return list(dict.fromkeys(sentences))


def opening(line: Mapping[str, Any], by: Run, *, asked: Run) -> str:
    """`2026-12-01 at 04:02 UTC: the locked patients (11), by ..., for ...`.

    Args:
        by: the run that opened them.
        asked: the run whose patients they are here; another one is named.
    """
    who = "the locked patients" if line["kind"] == "locked" else line.get("data", "?")
    reason = f", again because: {line['reason']}" if line.get("reason") else ""
    ended = "" if (by.evaluations / str(line["name"])).is_dir() else _ENDED
    time = str(line["time"])
    beside = "" if by is asked else f" of {by.path.name}, a run beside this one"
    return (
        f"{time[:10]} at {time[11:16]} UTC: {who} ({line['patients']}), as {line['name']}{beside}, "
        f"by `{line['command']}`, for {_models(line['models'])}{reason}{ended}."
    )


def _models(models: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{m.get('name')} (SHA-256 {str(m.get('digest'))[:12]})" for m in models)


def _is_number(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _fixed(number: Any, decimals: int, *, sign: bool) -> str:
    return f"{number:{'+' if sign else ''}.{decimals}f}" if _is_number(number) else ""
