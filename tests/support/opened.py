"""Runs whose patients can be opened: tiny networks, trained without Ray, and locked patients."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.data.fingerprint import file_contents, fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.splits.draw import split_by_patient
from brainseg.records.files import read_json
from brainseg.records.run import Run
from tests.support.trials import TINY, nothing, trained
from tests.support.written import new_run, write_json

SHORT = replace(TINY, epochs=2)


def locked_run(
    data: Path, path: Path, configs: Sequence[TrialConfig] = (SHORT,), *, test: float = 0.3
) -> Run:
    """A list of points, each trained once, some of whose patients are locked."""
    table = find_slices(data)
    table["part"] = split_by_patient(table, validation=0.3, test=test)
    run = new_run(path)
    table.to_csv(run.slices, index=False)
    write_json(run.files, file_contents(table, data))
    counts = {
        part: {"patients": int(rows["patient"].nunique()), "slices": len(rows)}
        for part, rows in table.groupby("part")
    }
    place = {"root": str(data), "fingerprint": fingerprint(table, data), "made_up": True}
    place |= {"layout": "lgg", "channels": ["pre-contrast", "FLAIR", "post-contrast"]}
    place |= {"patients": int(table["patient"].nunique()), "slices": len(table)}
    place |= {"tumour_slices": int(table["tumour"].sum())}
    split = {"by": "patients", "validation": 0.3, "test": test, "seed": 0}
    split |= {"counts": counts, "shared_patients": 0}
    settings = {"name": path.name, "uid": path.name, "question": "Which?", "objectives": ["dice"]}
    settings |= {"space": {}, "base": flatten(TINY), "fixed": {}, "first": [], "phase": "search"}
    settings |= {"data": place, "split": split, "strategy": {"kind": "points", "seeds": [0]}}
    settings |= {"baselines": {"image_size": 32, "predictors": []}, "command": "brainseg"}
    settings |= {"made": "2026-12-01T00:00:00+00:00", "versions": {}}
    write_json(run.sweep, settings)
    for number, config in enumerate(configs):
        _train(run, f"{number:04d}", config)
    return run


def _train(run: Run, trial: str, config: TrialConfig) -> None:
    run.note(trial, "running", configuration=configuration_name(config), params=flatten(config))
    folder = trained(run, trial, config, nothing)
    last = folder.rows()[-1]
    run.note(
        trial,
        "done",
        dice=last.best_dice,
        epoch=last.epoch,
        best_epoch=last.best_epoch,
        device_seconds=1.0,
    )


def settings(run: Run, **changes: object) -> None:
    """Change what sweep.json says."""
    write_json(run.sweep, read_json(run.sweep) | changes)
