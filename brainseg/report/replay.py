"""The command that trains a trial's configuration again."""

import shlex
from collections.abc import Mapping
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.sweep import Split


def replay(
    sweep: Mapping[str, Any], trial: str, params: Mapping[str, Any], *, one_cut: bool = False
) -> str:
    """The command that trains one configuration again, on the same data and split.

    Args:
        one_cut: the trial's folds were the same for all seeds; `train` cuts those of its seed, so
            its fold is first written to a file.
    """
    data, split = _data(sweep["data"]), _split(sweep["split"])
    train = {"--data": sweep["data"]["root"], "--name": f"{sweep['name']}-{trial}", **data}
    if not one_cut:
        return _command("brainseg train", {**train, **split}, params)
    folds = {**data, **split, "--out": f"{trial}.csv"}
    of_fold = {"--split": f"{trial}-{params.get('fold', 0)}.csv"}
    held = {path: value for path, value in params.items() if path != "fold"}
    written = _command(f"brainseg split {shlex.quote(sweep['data']['root'])}", folds, {})
    return f"{written} && \\\n" + _command("brainseg train", {**train, **of_fold}, held)


def _data(data: Mapping[str, Any]) -> dict[str, str]:
    named = {"--layout": data.get("layout"), "--label": data.get("label")}
    return {option: str(value) for option, value in named.items() if value}


def _split(split: Mapping[str, Any]) -> dict[str, str]:
    usual = Split()
    return {
        option: str(value)
        for option, value, default in (
            ("--split", split["by"], usual.by),
            ("--validation", split["validation"], usual.validation),
            ("--test", split["test"], usual.test),
            ("--split-seed", split["seed"], usual.seed),
            ("--folds", split.get("folds", 0), usual.folds),
        )
        if value != default
    }


def _command(verb: str, options: Mapping[str, str], params: Mapping[str, Any]) -> str:
    """What is typed, an option a line; ``params`` that have their defaults are left out."""
    usual = flatten(TrialConfig())
    words = [f"{option} {shlex.quote(value)}" for option, value in options.items()]
    words += [
        f"--set {shlex.quote(f'{path}={value}')}"
        for path, value in params.items()
        if usual.get(path) != value
    ]
    return f"{verb} " + " \\\n  ".join(words)
