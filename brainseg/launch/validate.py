"""Refuses, before the first trial, configurations and data with which training would fail."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.config.distributions import Choice
from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.config.schema import build, flatten
from brainseg.config.sweep import Bayes, Points, Sweep
from brainseg.data.channels import dropout_is_off
from brainseg.data.pack.build import require_channels
from brainseg.data.pipeline.batches import require_divisible
from brainseg.data.pipeline.normalise import require_three_channels
from brainseg.data.quality.vanishing import vanished
from brainseg.models import encoders, weights
from brainseg.models.network import require_buildable, require_freezable, require_size
from brainseg.process import Log
from brainseg.records.checkpoint_index import has_whole
from brainseg.records.run import Run
from brainseg.records.trial_state import ENDED
from brainseg.search.rounds import points_still_in


def all_points(sweep: Sweep) -> list[TrialConfig]:
    """Configs that stand for all the sweep can draw: its first points, each option of a choice."""
    space = sweep.space
    sweep.points()  # refuses points that the search space does not hold
    points = [space.config(point) for point in sweep.first]
    if not sweep.draws:
        return points
    base = flatten(space.config({}))
    choices = {
        path: distribution
        for path, distribution in space.distributions().items()
        if isinstance(distribution, Choice) and path in base
    }
    # A base that holds an option which is never drawn gets the first option instead.
    space = space.holding({p: c.options[0] for p, c in choices.items() if not c.holds(base[p])})
    points.insert(0, space.config({}))
    for path, choice in choices.items():
        points += [space.config({path: option}) for option in choice.options]
    return points


def check_points(points: list[TrialConfig], workers: int) -> None:
    """Refuse what would fail in training: networks, sizes, batches."""
    for encoder in dict.fromkeys(p.model for p in points if isinstance(p.model, Encoder)):
        encoders.require_known(encoder.name)
    for config in points:
        require_size(config.model, config.image_size)
        require_divisible(config.batch_size, workers)
    networks = {(p.model, p.channels, p.image_size, p.batch_size // workers): 0 for p in points}
    for model, channels, size, images in networks:
        require_buildable(model, channels, size, images)
        if isinstance(model, Encoder):
            require_freezable(model, channels, size)


def check_weights(points: list[TrialConfig], log: Log) -> None:
    """Refuse weights to start from that are not available, do not fit, or hold no numbers."""
    starts = {
        (p.model.name, p.model.weights, p.channels): 0
        for p in points
        if isinstance(p.model, Encoder)
    }
    for name, start, channels in starts:
        if note := weights.require_weights(name, start, channels):
            log(note)


def points_to_start(run: Run, sweep: Sweep) -> list[TrialConfig]:
    """What a sweep that resumes may still start from its weights: see ``all_points``.

    A trial that has ended, or that has a whole checkpoint, needs none. A search needs those of all
    that it can draw while trials are left to draw.
    """
    ended = {record.trial for record in run.trials() if record.state in ENDED}
    folders = [run.trial(path.parent.name) for path in run.path.glob("trials/*/config.json")]
    configs = {folder.trial: build(TrialConfig(), folder.params()) for folder in folders}
    begun = {f.trial for f in folders if f.trial in ended or has_whole(f.path)}
    if isinstance(sweep.strategy, Bayes) and len(folders) < sweep.trials:
        return all_points(sweep)
    waiting = [config for trial, config in configs.items() if trial not in begun]
    if isinstance(sweep.strategy, Points):
        listed = [
            sweep.space.config({**drawn, **pinned}) for drawn, pinned in points_still_in(run, sweep)
        ]
        waiting += [config for config in listed if config not in configs.values()]
    return waiting


def modality_dropout_off(data: Mapping[str, Any], points: list[TrialConfig]) -> str:
    """Why trials that ask for modality dropout train without it; "" if none asks for it.

    Args:
        data: what the run's sweep.json says of its data.
    """
    asking = [p.channels for p in points if p.augment.missing > 0]
    return dropout_is_off(data, asking[0]) if asking else ""


def check_channels(points: list[TrialConfig], table: pd.DataFrame, data: Path) -> None:
    """Refuse data whose images do not have the channels that the points declare."""
    for channels, how in {(p.channels, p.normalise): 0 for p in points}:
        require_channels(table, data, channels)
        require_three_channels(how, channels)


def tumours_lost(
    points: list[TrialConfig], table: pd.DataFrame, data: Path, *, resumes: bool = False
) -> list[str]:
    """What tumours vanish at the points' image sizes, a sentence for each size.

    Raises:
        ValueError: no tumour is left at one of them, and the run does not resume an older one.
    """
    sentences = []
    for size in dict.fromkeys(point.image_size for point in points):
        lost = vanished(table, data, size)
        if (problems := lost.problems()) and not resumes:
            raise ValueError(problems[0])
        sentences += [*lost.notes(), *map(str, problems)]
    return sentences
