"""The page's pictures: validation slices with true and predicted tumour outlined."""

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.channels import flair_channel, recorded_names
from brainseg.records.files import read_json
from brainseg.records.queries import in_folds, named, seed_groups
from brainseg.records.run import Run
from brainseg.report.figures import slices, style
from brainseg.report.html import Html, safe

PANELS = 12  # of a trial's slices; more would make the page heavy


def slices_section(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> Html:
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
        f"<figure>{slices.slice_panel(image[..., channel], truth, prediction)}"
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
