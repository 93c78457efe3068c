"""The page's pictures: validation slices with true and predicted tumour outlined."""

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis.snapshot import RunSnapshot, TrialSnapshot
from brainseg.data.channels import flair_channel, recorded_names
from brainseg.records.queries import in_folds, named, seed_groups
from brainseg.report.figures import slices, style
from brainseg.report.html import Html, safe

PANELS = 12  # of a trial's slices; more would make the page heavy


def slices_section(run: RunSnapshot, frame: pd.DataFrame) -> Html:
    """Image, truth and prediction of the leader; where points are run, of each model's best."""
    ranked = frame[frame["rank"].notna()]
    shown = ranked["trial"].tolist()[:1]
    if run.sweep["strategy"].get("kind") == "points":
        groups = seed_groups([r for r in run.records if r.trial in set(ranked["trial"])])
        best = {max(group, key=lambda record: record.dice or 0).trial for group in groups}
        shown = [trial for trial in ranked["trial"] if trial in best]
    if in_folds(run.sweep):  # the same patients of every arm
        first = {group[0].trial for group in seed_groups(run.records)}
        shown = [trial for trial in frame["trial"] if trial in first]
    words = {row["trial"]: named(row["arm"], row["varied"]) for _, row in frame.iterrows()}
    return Html("\n".join(_panels(run.sweep, run.trials[trial], words[trial]) for trial in shown))


def _panels(sweep: Mapping[str, Any], trial: TrialSnapshot, words: str) -> Html:
    if not (path := trial.folder.panels).exists():
        return Html()
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ("images", "truths", "predictions", "labels")
            parts, epoch = [file[name][:PANELS] for name in names], int(file["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        return Html(f'<p class="note">{safe(path)} cannot be read: {safe(error)}</p>')
    channel, name = shown_channel(sweep, parts[0])
    panels = "\n".join(
        f"<figure>{slices.slice_panel(image[..., channel], truth, prediction)}"
        f"<figcaption>{safe(label)}: {_overlap(truth, prediction)}</figcaption></figure>"
        for image, truth, prediction, label in zip(*parts, strict=True)
    )
    return Html(
        f'<p class="note">Validation slices as {safe(words)}, trial '
        f"{safe(trial.record.trial)}, saw them at epoch {epoch}: {safe(name)}, and {safe(name)} "
        f"with {_key(style.TRUTH)}truth and {_key(style.PREDICTION)}prediction "
        f"outlined. Brightness is scaled slice by slice.</p>"
        f'<div class="slices">{panels}</div>'
    )


def shown_channel(sweep: Mapping[str, Any], images_NHWC: NDArray[np.uint8]) -> tuple[int, str]:
    """FLAIR where the layout tells which it is, else the first."""
    names, channels = recorded_names(sweep["data"]), images_NHWC.shape[3]
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
