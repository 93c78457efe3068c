"""The sweep that trains one configuration of a run once more, on all patients but the locked ones.

Nobody is left to validate on, so it has no score of its own: what to expect of it is what its run
measured, of networks that were trained on fewer patients. It trains to its last epoch, for as many
epochs as there, with a seed of its own.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from brainseg.config.design import other_seeds
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.origins import Refits
from brainseg.config.sweep import Points, Sweep
from brainseg.records.queries import is_list
from brainseg.records.run import Run
from brainseg.search.confirmation import point_of, search_seeds, space_of, split_of

REFITS = [field.name for field in fields(Refits)]
SLUG = 60  # characters of a configuration's name in that of a folder


def refit(run: Run, name: str, refits: Refits, config: TrialConfig) -> Sweep:
    """The sweep, called ``name``, that trains ``config`` of ``run`` once more."""
    settings = run.settings()
    return Sweep(
        name=name,
        question=f"A model from all patients that are not locked: {refits.configuration}.",
        space=space_of(settings),
        first=(point_of(config),),
        strategy=Points(seeds=(_new_seed(run, settings),)),
        split=split_of(settings["split"], folds=0),
        refits=refits,
    )


def started_refit(folder: Run) -> Sweep:
    """The sweep that a refit's folder records."""
    settings = folder.settings()
    return Sweep(
        name=settings["name"],
        question=settings["question"],
        space=space_of(settings),
        first=tuple(settings["first"]),
        strategy=Points(seeds=tuple(settings["strategy"]["seeds"])),
        split=split_of(settings["split"], folds=0),
        refits=Refits(**{name: settings["refits"].get(name) for name in REFITS}),
    )


def require_refittable(run: Run) -> None:
    """Refuse a run whose configurations cannot be trained again on all patients.

    Raises:
        ValueError: it is a refit itself, or split by slices.
    """
    settings = run.settings()
    if refits := settings.get("refits"):
        raise ValueError(
            f"{run.path} is itself a refit, of {refits['run']}; name that one, with --arm for "
            "another of its configurations"
        )
    if settings["split"]["shared_patients"]:
        raise ValueError(
            f"{run.path} has slices of one patient in several parts of its split, so nothing that "
            "it measured says what a refit is worth; search again with --split patients, then "
            "confirm"
        )


def folder_of_winner(run: Run) -> Run:
    """Where the winner of ``run`` is refitted, whether that was started or not: NAME-refit.

    That of a search is NAME-search-refit: its confirmation may be refitted as well.

    Raises:
        ValueError: it holds something else.
    """
    settings = run.settings()
    kind = "refit" if is_list(settings) else "search-refit"
    folder = Run(run.path.resolve().parent / f"{group_of(settings)}-{kind}")
    if folder.sweep.exists() and not _is_of(folder, run):
        raise ValueError(
            f"{folder.path} holds {_what(folder)}, not a refit of {run.path}; move it away"
        )
    return folder


def folder_of(run: Run, configuration: str, trials: Collection[str], *, wins: bool) -> Run:
    """Where a configuration of ``run`` is refitted: as its winner, if it is or was the winner.

    Args:
        trials: those of the configuration in ``run``.

    Raises:
        ValueError: the folder holds something else.
    """
    first = folder_of_winner(run)
    if _is_of(first, run, trials) if first.sweep.exists() else wins:
        return first
    slug = re.sub("[^a-z0-9]+", "-", configuration.lower())[:SLUG].strip("-")
    folder = Run(first.path.with_name(f"{first.path.name}-{slug}"))
    if folder.sweep.exists() and not _is_of(folder, run, trials):
        raise ValueError(
            f"{folder.path} holds {_what(folder)}, not that of {configuration} of {run.path}; "
            "move it away"
        )
    return folder


def group_of(settings: Mapping[str, Any]) -> str:
    """The name of the search with which a run began."""
    return str(settings.get("confirms", settings)["name"])


def _is_of(folder: Run, run: Run, trials: Collection[str] | None = None) -> bool:
    """Whether a folder holds a refit of ``run``, and of one of ``trials``."""
    refits = folder.settings().get("refits", {})
    is_of_run: bool = refits.get("uid") == run.settings()["uid"]
    return is_of_run and (trials is None or refits["trial"] in trials)


def _what(folder: Run) -> str:
    """What a folder holds instead."""
    if refits := folder.settings().get("refits"):
        return f"the refit of {refits['configuration']} of {refits['run']}"
    return "another sweep"


def _new_seed(run: Run, settings: Mapping[str, Any]) -> int:
    """The first seed that neither the run used nor the search that it confirms."""
    used = search_seeds(run)
    if confirms := settings.get("confirms"):
        search = Run(Path(confirms["search"]))
        used |= search_seeds(search) if search.sweep.exists() else set()
    return other_seeds(used)[0]
