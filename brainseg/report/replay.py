"""The command that trains a trial's configuration again."""

import shlex
from collections.abc import Mapping
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.sweep import Split


def replay(sweep: Mapping[str, Any], trial: str, params: Mapping[str, Any]) -> str:
    """The command that trains one configuration again, on the same data and split."""
    options = {"--data": sweep["data"]["root"], "--name": f"{sweep['name']}-{trial}"}
    if layout := sweep["data"].get("layout"):
        options["--layout"] = layout
    if label := sweep["data"].get("label"):
        options["--label"] = label
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
