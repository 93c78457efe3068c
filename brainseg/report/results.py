"""What a sweep found, as its records tell: a ranking, results.csv, an answer, a table."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis.arms import in_folds, in_words, named, over_seeds, seed_groups, varied_paths
from brainseg.analysis.cost_summary import ledger
from brainseg.analysis.pareto import sentence, unbeaten
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.sweep import Split
from brainseg.records.run import Run, TrialRecord, read_json, write_text
from brainseg.search.confirmation import overtaken
from brainseg.search.expected_dice import EXPECTED, expected_dice

SCORES = ("iou", "micro_dice", "tumour_slice_dice", "slice_dice_empty1", "false_alarm")
COLUMNS = [
    *("trial", "arm", "state", "dice", "expected_dice"),
    *("dice_q1", "dice_median", "dice_q3", "patients", *SCORES),
    *("best_epoch", "epochs", "lr", "schedule", "varied", "frozen_tensors", "frozen_changed"),
    *("device_seconds", "reason"),
]
PATIENTS = ["patient", "slices", "tumour_slices", "tp", "fp", "fn", "dice", "iou"]
BLIND = (
    "The last rows look at no image; they are scored on the same validation slices, at {} pixels."
)
UNSURE = (
    "One split and one or few seeds make a search result, not yet a proof. Differences smaller "
    "than the spread over patients may be noise, and the same patients chose the epoch and the "
    "trial."
)
OUT_OF_FOLD = (
    "Of each model every patient is scored by networks that never saw them, at the last epoch, "
    "which nobody chose; a trial's own row has its best epoch. Where a search chose the models, it "
    "chose them on patients who are among these."
)
LEAK = (
    "The split leaks: slices of one patient are in several parts, so the scores say little about "
    "new patients."
)
MADE_UP = "These patients are made up: the scores say nothing about real scans."


def ranking(run: Run) -> pd.DataFrame:
    """One row a trial, best validation ``dice`` first; failed and scoreless ones follow unranked.

    Scores are those of the best epoch, so far where a trial still runs. ``expected_dice`` is what a
    trial that is done is expected to be worth, NaN where that cannot be told, see
    ``merit.expected_dice``; it does not rank, since the weights kept are of the best epoch.
    ``dice_q1``, ``dice_median`` and ``dice_q3`` are quartiles over the validation ``patients``,
    whose mean ``dice`` is; ``epochs`` are those finished; ``lr`` is the peak of the schedule, NaN
    where a range test found it; ``varied`` are the hyperparameters that differ between trials, but
    those that ``arm`` says; of ``frozen_tensors``, as many were audited, ``frozen_changed`` must be
    0.
    Folds hold different patients, so trials of a sweep in folds have no rank: arm stands after
    arm, in the order of ``over_seeds``.
    """
    folds = in_folds(read_json(run.sweep))
    records = _by_arm(run) if folds else run.trials()
    paths, expected = varied_paths(records), expected_dice(run)
    rows = [
        _row(run, record)
        | {"varied": in_words(record.params, paths)}
        | {"expected_dice": expected.get(record.trial) if record.state == "done" else None}
        for record in records
    ]
    if folds:
        return _framed(rows, {})
    ranked = [row for row in rows if row["state"] != "failed" and math.isfinite(row["dice"])]
    ranked.sort(key=lambda row: -row["dice"])
    places = {row["trial"]: place for place, row in enumerate(ranked, start=1)}
    rest = [row for row in rows if row["trial"] not in places]
    return _framed(ranked + rest, places)


def _framed(rows: list[dict[str, Any]], places: Mapping[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.insert(0, "rank", frame["trial"].map(places).astype("Int64"))
    frame["expected_dice"] = frame["expected_dice"].astype(float)
    return frame


def _by_arm(run: Run) -> list[TrialRecord]:
    means = over_seeds(run)
    places = {trial: n for n, trial in enumerate(means["trial"])} if len(means) else {}
    groups = seed_groups(run.trials())
    groups.sort(key=lambda group: min(places.get(r.trial, len(places)) for r in group))
    return [record for group in groups for record in group]


def write_results(run: Run) -> Path:
    """Write results.csv: the ranking, and each trial's hyperparameters as ``params.<path>``.

    The last column says whether the split leaks.
    """
    frame = ranking(run)
    params = {record.trial: record.params for record in run.trials()}
    columns = pd.DataFrame([params[trial] for trial in frame["trial"]], index=frame.index)
    table = pd.concat([frame, columns.add_prefix("params.")], axis=1)
    table["leaks"] = leaks(read_json(run.sweep))
    write_text(run.results, table.to_csv(index=False))
    return run.results


def blind(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a baseline: ``arm`` in words, every score (NaN where it is undefined)."""
    rows = []
    for one in sweep["baselines"]["predictors"]:
        arm = f"{one['name']}: {one['why_not']}" if one["why_not"] else one["name"]
        scores = {score: one["scores"].get(score, math.nan) for score in ("dice", *SCORES)}
        rows.append({"arm": arm, **scores})
    return rows


def blind_note(sweep: Mapping[str, Any]) -> str:
    side = sweep["baselines"]["image_size"]
    return BLIND.format(f"{side}x{side}")


def replay(sweep: Mapping[str, Any], trial: str, params: Mapping[str, Any]) -> str:
    """The command that trains one configuration again, on the same data and split."""
    options = {"--data": sweep["data"]["root"], "--name": f"{sweep['name']}-{trial}"}
    if layout := sweep["data"].get("layout"):
        options["--layout"] = layout
    split, usual = sweep["split"], Split()
    for option, value, default in (
        ("--split", split["by"], usual.by),
        ("--validation", split["validation"], usual.validation),
        ("--test", split["test"], usual.test),
        ("--split-seed", split["seed"], usual.seed),
        ("--folds", split.get("folds", 0), usual.folds),
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
    ranked, folds = frame[frame["rank"].notna()], in_folds(read_json(run.sweep))
    if len(seeds := over_seeds(run)) and (folds or len(ranked)):
        doubt = f"brainseg compare {run.path} says what is chance" if folds else "Not yet confirmed"
        return f"{_answer_over_seeds(seeds)}. {doubt}."
    if ranked.empty:
        what = f"configuration has been scored in all {folds} folds" if folds else ""
        return f"No {what or 'trial has finished with a score'}."
    first = ranked.iloc[0]
    so_far = " so far" if frame["state"].isin(["queued", "running", "paused"]).any() else ""
    name = named(first.arm, first.varied)
    said = f"{name} (trial {first.trial}) scored highest{so_far}: mean Dice {first.dice:.3f}"
    if first.patients:
        said += (
            f" over {first.patients} validation patients, half of them between "
            f"{first.dice_q1:.2f} and {first.dice_q3:.2f}"
        )
    if len(ranked) > 1:
        second = ranked.iloc[1]
        said += f"; {first.dice - second.dice:.3f} above "
        said += f"{named(second.arm, second.varied)} (trial {second.trial})"
        said += _duel(patients(run, first.trial), patients(run, second.trial))
    return f"{said}. Not yet confirmed."


def expects(frame: pd.DataFrame) -> bool:
    """Whether there is a trial of which is known what it is expected to be worth."""
    return bool(frame["expected_dice"].notna().any())


def doubted(run: Run, frame: pd.DataFrame) -> str:
    """Which trial is expected to be worth more than the ranking's first, or nothing.

    Nothing either of a split that leaks, which a confirmation refuses.
    """
    ranked = frame[frame["rank"].notna()]
    if ranked.empty or leaks(read_json(run.sweep)):
        return ""
    return overtaken(run, ranked["trial"].iloc[0])


def _answer_over_seeds(seeds: pd.DataFrame) -> str:
    """Of configurations that were trained with several seeds, by their means."""

    def told(row: pd.Series) -> str:
        span = f" ({row.dice_low:.3f} to {row.dice_high:.3f})" if row.seeds > 1 else ""
        plural = "s" if row.seeds > 1 else ""
        own = f"{row.patients} patients out of fold, {row.seeds}" if row.patients else row.seeds
        return f"{row.dice:.3f} over {own} seed{plural}{span}"

    first = seeds.iloc[0]
    said = f"{named(first.arm, first.varied)} scored highest: mean Dice {told(first)}"
    if len(seeds) > 1:
        second = seeds.iloc[1]
        said += f"; then {named(second.arm, second.varied)}, {told(second)}"
    return said


def print_ranking(run: Run, console: Console) -> None:
    """The ranking as a table for a terminal, and underneath what its figures mean."""
    sweep, frame = read_json(run.sweep), ranking(run)
    console.print(Text(sweep["question"], style="bold"))
    console.print(Text(answer(run, frame)))
    if said := doubted(run, frame):
        console.print(Text(said))
    trials = [_terminal_table(frame, blind(sweep))] if len(frame) else []
    seeds = [_seed_table(means)] if len(means := over_seeds(run)) else []
    for table in (*seeds, *trials) if in_folds(sweep) else (*trials, *seeds):
        console.print(table)
    for row in frame[frame["state"] == "failed"].to_dict("records"):
        console.print(Text(f"{row['trial']} failed: {row['reason']}", style="red"))
    for note in _notes(run, sweep, frame):
        console.print(Text(note, style="dim"))
    for path in filter(Path.exists, (run.report, run.results)):
        console.print(Text(str(path)), soft_wrap=True)


def patients(run: Run, trial: str) -> pd.DataFrame:
    """One row a validation patient at the trial's best epoch; no rows before there is one."""
    path = run.trial(trial).patients
    if not path.exists():
        return pd.DataFrame(columns=PATIENTS, dtype=float).astype({"patient": str})
    # A patient may be called NA, or 007.
    return pd.read_csv(path, dtype={"patient": str}, keep_default_na=False)


def leaks(sweep: Mapping[str, Any]) -> bool:
    """Whether some patient has slices in more than one part of the split."""
    return bool(sweep["split"]["shared_patients"] > 0)


def warnings(sweep: Mapping[str, Any]) -> list[str]:
    """Why this sweep's scores say less than they seem to."""
    return [LEAK] * leaks(sweep) + [MADE_UP] * sweep["data"]["made_up"]


def drawn(split: Mapping[str, Any]) -> str:
    """How the split came about: "by patients, seed 0"."""
    if split["by"] in ("patients", "slices"):
        return f"by {split['by']}, seed {split['seed']}"
    return f"as {split['by']} says"


def parts(split: Mapping[str, Any]) -> list[str]:
    """How many patients and slices each part of the split holds, a line a part."""
    counts = split["counts"]
    return [
        f"{part} {counts[part]['patients']} patients / {counts[part]['slices']} slices"
        for part in (*("train", "validation", "test"), *(p for p in counts if "fold" in p))
        if part in counts
    ]


def number(value: float) -> str:
    """A score to three decimals; empty if there is none."""
    return f"{value:.3f}" if math.isfinite(value) else ""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best; empty for none."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds else ""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _row(run: Run, record: TrialRecord) -> dict[str, Any]:
    folder, params = run.trial(record.trial), record.params
    epochs = folder.rows()
    best = _best(record, epochs)
    own = patients(run, record.trial)
    low, median, high = own["dice"].quantile([0.25, 0.5, 0.75])
    rate, stages = f"optimizer.{params.get('optimizer')}.lr", folder.audit()
    return (
        vars(record)
        | {score: best.get(score, math.nan) for score in SCORES}
        | {
            "dice": best.get("dice", math.nan) if record.dice is None else record.dice,
            "dice_q1": low,
            "dice_median": median,
            "dice_q3": high,
            "patients": len(own),
            "best_epoch": best.get("epoch", record.best_epoch),
            "epochs": max([record.epoch, *(row["epoch"] for row in epochs)]),
            "lr": math.nan if params.get("lr") == "auto" else params.get(rate, math.nan),
            "schedule": params.get("schedule", ""),
            "frozen_tensors": max((stage["tensors"] for stage in stages), default=math.nan),
            "frozen_changed": sum(len(stage["changed"]) for stage in stages),
            "device_seconds": record.device_seconds or folder.device_seconds(),
        }
    )


def _best(record: TrialRecord, epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the best epoch: the one noted, or the best so far."""
    best_epoch = record.best_epoch or (epochs[-1]["best_epoch"] if epochs else 0)
    return next((row for row in epochs if row["epoch"] == best_epoch), {})


def _duel(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    both = ours.merge(theirs, on="patient")
    if both.empty:
        return ""
    return f", better on {(both['dice_x'] > both['dice_y']).sum()} of {len(both)} patients"


def _notes(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> list[str]:
    split = sweep["split"]
    params = [record.params for record in run.trials() if record.params] or [sweep["base"]]
    sides = sorted({settings["image_size"] for settings in params})
    pixels = " or ".join(f"{side}x{side}" for side in sides)
    return [
        f"Dice: mean over the validation patients of each one's volume Dice, at {pixels} pixels.",
        *[f"Expected: {EXPECTED[:1].lower()}{EXPECTED[1:]}"] * expects(frame),
        f"Split {drawn(split)}: {', '.join(parts(split))}.",
        blind_note(sweep),
        *audit_note(run),
        *ending_note(run),
        *filter(None, [sentence(unbeaten(run, sweep))]),
        ledger(run).sentence(),
        *warnings(sweep),
        doubt(sweep),
    ]


def ending_note(run: Run) -> list[str]:
    """Why the last driver ended; nothing while one is at work, or of a run by hand."""
    last = run.drivers()[-1:]
    return [f"It ended: {driver['reason']}." for driver in last if driver["event"] == "ends"]


def doubt(sweep: Mapping[str, Any]) -> str:
    """How far the scores can be believed."""
    return OUT_OF_FOLD if in_folds(sweep) else UNSURE


def audit_note(run: Run) -> list[str]:
    """A sentence on what was frozen, if anything was."""
    audits = [run.trial(record.trial).audit() for record in run.trials()]
    frozen = [stages for stages in audits if any(stage["blocks"] for stage in stages)]
    moved = [stages for stages in frozen if any(stage["changed"] for stage in stages)]
    if not frozen:
        return []
    return [
        f"Frozen blocks were audited in {len(frozen)} trial{'s'[: len(frozen) > 1]}: after "
        "training, weights and "
        + (
            f"statistics had changed in {len(moved)} of them, which are marked failed."
            if moved
            else "batch-norm statistics were to the bit what they were before the first step."
        )
    ]


def _terminal_table(frame: pd.DataFrame, baselines: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    expected = ["Expected"] * expects(frame)
    for name in ("#", "Trial", "Model", "Dice", *expected, "IoU", "Epochs", "State", "Time"):
        right = name in ("#", "Dice", *expected, "IoU", "Epochs", "Time")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "Model")
    for row in frame.to_dict("records"):
        place = "" if pd.isna(row["rank"]) else str(row["rank"])
        cells = [
            place,
            row["trial"],
            f"{row['arm']}\n{row['varied']}".rstrip(),
            number(row["dice"]),
            *([number(row["expected_dice"])] if expected else []),
            number(row["iou"]),
            f"{row['best_epoch']}/{row['epochs']}" if row["epochs"] else "",
            row["state"],
            duration(row["device_seconds"]),
        ]
        table.add_row(*map(Text, cells), style={"": "dim", "1": "bold"}.get(place))
    table.add_section()
    for one in baselines:
        scores = (number(one["dice"]), *("" for _ in expected), number(one["iou"]))
        table.add_row("", "", one["arm"], *scores, style="dim")
    return table


def _seed_table(seeds: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    patients = ["Patients"] if seeds["patients"].any() else []
    for name in ("Model", *patients, "Seeds", "Dice", "Lowest", "Highest", "Best epoch"):
        table.add_column(name, justify="left" if name == "Model" else "right")
    for row in seeds.to_dict("records"):
        cells = [
            f"{row['arm']}\n{row['varied']}".rstrip(),
            *([str(row["patients"])] if patients else []),
            str(row["seeds"]),
            number(row["dice"]),
            number(row["dice_low"]),
            number(row["dice_high"]),
            f"{row['best_epoch']:.1f}",
        ]
        table.add_row(*map(Text, cells))
    return table
