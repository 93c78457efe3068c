"""The page's pictures: validation slices with true and predicted tumour outlined."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis.snapshot import RunSnapshot, TrialSnapshot
from brainseg.data.channels import flair_channel, recorded_names
from brainseg.records.queries import by_configuration, fold_count, full_name, is_list
from brainseg.report.figures import style
from brainseg.report.figures.slices import Picture, outline, picture_of_slice
from brainseg.report.html import Markup, render

SHOWN = 24  # trials, at most


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A slice, and the outlines of its masks as SVG paths."""

    picture: Picture
    truth: str
    prediction: str
    label: str
    overlap: str


@dataclass(frozen=True, kw_only=True)
class TrialSlices:
    """The slices of one trial, or why they cannot be shown."""

    trial: str
    configuration: str
    epoch: int = 0
    channel: str = ""
    panels: list[Panel] = field(default_factory=list)
    problem: str = ""


def slices_section(run: RunSnapshot, frame: pd.DataFrame) -> Markup | None:
    """Image, truth and prediction of the leader; for a fixed list, of each configuration's best."""
    ranked = frame[frame["rank"].notna()]
    shown = ranked["trial"].tolist()[:1]
    if is_list(run.sweep):
        groups = by_configuration([r for r in run.records if r.trial in set(ranked["trial"])])
        best = {max(group, key=lambda record: record.dice or 0).trial for group in groups}
        shown = [trial for trial in ranked["trial"] if trial in best]
    if fold_count(run.sweep):  # the same patients for every configuration
        first = {group[0].trial for group in by_configuration(run.records)}
        shown = [trial for trial in frame["trial"] if trial in first]
    words = {row["trial"]: full_name(row["arm"], row["varied"]) for _, row in frame.iterrows()}
    shown = [trial for trial in shown if run.trials[trial].folder.panels.exists()]
    trials = [_slices(run.sweep, run.trials[trial], words[trial]) for trial in shown[:SHOWN]]
    if not trials:
        return None
    colours = {"truth_colour": style.TRUTH, "prediction_colour": style.PREDICTION}
    more = len(shown) - len(trials)
    return render("slices", trials=trials, more=more, **colours)


def _slices(sweep: Mapping[str, Any], trial: TrialSnapshot, words: str) -> TrialSlices:
    name = trial.record.trial
    try:
        with np.load(trial.folder.panels, allow_pickle=False) as file:
            keys = ("images", "truths", "predictions", "labels")
            images, *others = (file[key] for key in keys)
            epoch = int(file["epoch"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"{trial.folder.panels} cannot be read: {error}"
        return TrialSlices(trial=name, configuration=words, problem=problem)
    index, channel = shown_channel(sweep, images)
    panels = [
        Panel(
            picture=picture_of_slice(image_HWC[..., index]),
            truth=outline(truth_HW),
            prediction=outline(prediction_HW),
            label=str(label),
            overlap=_overlap(truth_HW, prediction_HW),
        )
        for image_HWC, truth_HW, prediction_HW, label in zip(images, *others, strict=True)
    ]
    return TrialSlices(trial=name, configuration=words, epoch=epoch, channel=channel, panels=panels)


def shown_channel(sweep: Mapping[str, Any], images_NHWC: NDArray[np.uint8]) -> tuple[int, str]:
    """Index and name of FLAIR where the layout says which it is, else of the first channel."""
    names, channels = recorded_names(sweep["data"]), images_NHWC.shape[3]
    channel = flair_channel(names, channels) or 0
    known = len(names) == channels
    return channel, names[channel] if known else f"channel {channel + 1} of {channels}"


def _overlap(truth_HW: NDArray[np.uint8], prediction_HW: NDArray[np.uint8]) -> str:
    truth, prediction = truth_HW > 0, prediction_HW > 0
    pixels = int(truth.sum() + prediction.sum())
    if not pixels:
        return "no tumour, none predicted"
    return f"slice Dice {2 * int((truth & prediction).sum()) / pixels:.2f}"
