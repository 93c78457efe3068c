"""One precision for all trials of a run that have precision=auto: else they could not be compared.

The first trial that needs it decides, and writes it into the run's folder; all others, on whatever
machine, follow.
"""

from typing import Any

import torch

from brainseg.config.hyperparameters import TrialConfig
from brainseg.records.files import read_json, read_lines, write_json
from brainseg.records.locks import locked
from brainseg.records.run import Precision, Run
from brainseg.training.compute.answers import Answers
from brainseg.training.compute.families import MOST, asked_by, family_key
from brainseg.training.compute.rules import gain_of, precision_of


def agreed_precision(run: Run, config: TrialConfig, answers: Answers) -> Precision:
    """The run's precision; decided now if ``config`` is that of the first trial.

    Raises:
        Unreadable: the run's record of it holds none.
    """
    if known := run.precision():
        return known
    with locked(run.path / "compute.lock"):  # one trial measures, on whatever node
        if not run.precision():
            facts = _recorded(run, answers.device) or _measured(run, config, answers)
            write_json(run.compute, facts)
    decided = run.precision()
    assert decided, "just written"
    return decided


def _recorded(run: Run, device: torch.device) -> dict[str, Any] | None:
    """What the run's trials have computed in; None if none of them has finished an epoch."""
    begun = [run.trial(name) for name in run.trained()]
    begun = [trial for trial in begun if trial.params().get("precision", "auto") == "auto"]
    starts = [line for trial in begun for line in read_lines(trial.starts)]
    for line in starts:
        if "compute" in line:
            return {"precision": line["compute"]["precision"], "why": "its trials recorded it"}
    if not any(trial.metrics.stat().st_size for trial in begun):
        return None
    return {
        "precision": "bfloat16" if _claims_bfloat16(device) else "float32",
        "why": "an earlier version began the run: it took bfloat16 where the hardware claims it",
    }


def _claims_bfloat16(device: torch.device) -> bool:
    """What earlier versions asked: whether the hardware has bfloat16, not whether it is fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _measured(run: Run, config: TrialConfig, answers: Answers) -> dict[str, Any]:
    """The precision for every family that the sweep can train, with the figures behind it."""
    asked = {family_key(config): config}
    for other in asked_by(read_json(run.sweep, kind=dict)):
        asked.setdefault(family_key(other), other)
    taken = dict(list(asked.items())[:MOST])
    figures = {key: answers.steps(other) for key, other in taken.items()}
    precision = precision_of(figures.values())
    gains = ", ".join(f"{key} {gain_of(steps):.2f}x" for key, steps in figures.items())
    return {
        "precision": precision,
        "why": f"bfloat16 against float32, measured on {answers.name}: {gains}",
        "kind": answers.kind,
        "seconds": figures,
        "failed": answers.failed,
        "not_measured": [key for key in asked if key not in taken],
    }
