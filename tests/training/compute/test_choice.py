"""Trials of a run compute in one precision, which figures decide; a measurement changes nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.config.schema import flatten
from brainseg.records.cache import save_checked
from brainseg.records.files import Unreadable, read_json, read_lines
from brainseg.records.run import Run
from brainseg.training.compute.answers import Answers
from brainseg.training.compute.choice import machine_for
from brainseg.training.compute.families import family, family_key
from brainseg.training.compute.figures import read_figures
from brainseg.training.compute.rules import STEPS, gain_of
from brainseg.training.distributed import Ranks
from tests.support.tasks import task_of
from tests.support.trials import CPU, NORMED, TINY, nothing, together, trained, untimed
from tests.support.written import write_json, write_text

AUTO = replace(TINY, model=NORMED, precision="auto", epochs=2)
OTHER = replace(AUTO, model=Encoder(name="mobilenet_v2", weights="none"))
FAST = dict(zip(STEPS, (0.02, 0.018, 0.01), strict=True))
SLOW = dict(zip(STEPS, (0.02, 0.018, 0.03), strict=True))
UPDATES = {"loop": 0.01, "foreach": 0.01, "fused": 0.001}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which nothing is known."""
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def know(steps: Mapping[TrialConfig, Mapping[str, float]]) -> Path:
    """Let the cache hold these figures of this machine."""
    torch.set_num_threads(1)
    answers = Answers(CPU)
    content: dict[str, Any] = {
        "kind": answers.kind,
        "steps": {family_key(config): dict(seconds) for config, seconds in steps.items()},
        "updates": {f"{family(config.model)}, AdamW": UPDATES for config in steps},
        "failed": {},
    }
    save_checked(answers.path, json.dumps(content).encode())
    return answers.path


def asking_for(run: Run, *configs: TrialConfig) -> None:
    """Let the run's sweep be a list of these."""
    first = [flatten(config) for config in configs]
    known = read_json(run.sweep)
    write_json(run.sweep, known | {"base": flatten(TrialConfig()), "first": first})


def precision(run: Run, trial: str, config: TrialConfig) -> str:
    return machine_for(task_of(run, trial, config), CPU, Ranks(0, 1)).compute.precision


def test_figures_are_measured_once_kept_and_measured_again_where_the_file_is_damaged(
    run: Run, cache: Path
) -> None:
    torch.set_num_threads(1)
    machine = machine_for(task_of(run, "0000", AUTO), CPU, Ranks(0, 1))
    path = Answers(CPU).path
    content = read_figures(path)
    assert content and path.parent == cache / "compute"
    (steps,), (updates,) = content["steps"].values(), content["updates"].values()
    assert steps.keys() == STEPS.keys() and updates.keys() == {"loop", "foreach", "fused"}
    assert all(0 < seconds < 5 for seconds in (*steps.values(), *updates.values()))
    assert content["failed"] == {}
    facts = read_json(run.compute)
    assert facts["precision"] == machine.compute.precision and facts["not_measured"] == []
    assert f"plain4, 32 px, 3 channels {gain_of(steps):.2f}x" in facts["why"]

    before = path.read_bytes()
    assert machine_for(task_of(run, "0001", AUTO), CPU, Ranks(0, 1)) == machine
    assert path.read_bytes() == before
    path.write_bytes(before[:-9] + b"x" + before[-8:])
    machine_for(task_of(run, "0002", AUTO), CPU, Ranks(0, 1))
    assert read_figures(path) and path.read_bytes() != before


def test_a_trial_s_rows_are_the_same_whether_it_measured_or_found_the_answer(
    run: Run, cache: Path
) -> None:
    config = replace(AUTO, model=replace(NORMED, dropout=0.3), precision="float32")
    threads = torch.get_num_threads()
    first = trained(run, "0000", config, nothing)
    assert read_figures(Answers(CPU).path)
    second = trained(run, "0001", config, nothing)
    assert [*map(untimed, first.rows())] == [*map(untimed, second.rows())]
    assert first.notes() == second.notes() == []
    torch.set_num_threads(threads)


def test_the_first_trial_decides_for_all_families_and_a_faster_machine_follows(
    run: Run, cache: Path
) -> None:
    know({AUTO: FAST, OTHER: SLOW})
    asking_for(run, AUTO, OTHER)
    assert precision(run, "0000", AUTO) == "float32", "mobilenet, of the same sweep, is slower"
    facts = read_json(run.compute)
    assert "mobilenet, 32 px, 3 channels 0.60x" in facts["why"] and "1.80x" in facts["why"]
    know({AUTO: FAST, OTHER: FAST})  # a machine of another kind
    assert precision(run, "0001", OTHER) == "float32"
    assert precision(run, "0002", replace(AUTO, precision="bfloat16")) == "bfloat16"


def test_bfloat16_where_it_is_faster_for_all_is_what_every_worker_trains_in_and_records(
    run: Run, cache: Path, tmp_path: Path
) -> None:
    know({AUTO: FAST})
    folder = together(run, "0000", AUTO, 2, tmp_path)
    (start,) = [line for line in read_lines(folder.starts) if "workers" in line]
    assert start["compute"] == {
        "precision": "bfloat16",
        "layout": "channels last",
        "optimizer": "fused",
        "float32": "exact",
    }
    assert read_json(run.compute)["precision"] == "bfloat16"
    assert len(folder.rows()) == 2


def test_a_run_that_an_earlier_version_began_goes_on_as_that_version_did(
    run: Run, cache: Path
) -> None:
    claims = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    know({AUTO: SLOW if claims else FAST})
    folder = trained(run, "0000", replace(AUTO, precision="float32"), nothing)
    write_json(folder.config, flatten(AUTO))
    write_text(folder.starts, "")  # an earlier version's start lines do not say how it computed
    expected = "bfloat16" if claims else "float32"
    assert precision(run, "0001", AUTO) == expected
    assert "earlier version" in read_json(run.compute)["why"]


def test_a_record_that_was_removed_is_written_again_from_what_the_trials_recorded(
    run: Run, cache: Path
) -> None:
    know({AUTO: SLOW})
    folder = trained(run, "0000", AUTO, nothing)
    assert read_json(run.compute)["precision"] == "float32"
    run.compute.unlink()
    know({AUTO: FAST})
    assert precision(run, "0001", AUTO) == "float32"
    assert read_json(run.compute)["why"] == "its trials recorded it"
    assert folder.notes() == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "it is no JSON"),
        ('{"precision": "half"}', "its precision is 'half', not float32 or bfloat16"),
        ('{"why": "so"}', "it lacks precision"),
    ],
)
def test_a_record_that_cannot_be_read_says_what_to_do(run: Run, content: str, fault: str) -> None:
    write_text(run.compute, content)
    with pytest.raises(Unreadable, match=fault) as refused:
        machine_for(task_of(run, "0000", AUTO), CPU, Ranks(0, 1))
    assert str(refused.value).endswith(
        "remove it: it is written again, from what the trials recorded if any has started"
    )


SLOW_BFLOAT16 = """
import sys
import torch
from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.training.compute.measure import measure_steps
from brainseg.training.compute.figures import read_figures
from brainseg.training.compute.rules import gain_of, precision_of
torch.set_num_threads(1)
config = TrialConfig(model=Plain(width=16, depth=2), image_size=64, batch_size=8)
steps = measure_steps(config, torch.device("cpu")).seconds
print(precision_of([steps]), gain_of(steps))
"""


def test_where_bfloat16_is_slow_it_is_not_taken_whatever_the_processor_claims() -> None:
    """The libraries may use nothing newer than AVX2 here: the flags stay, the speed does not."""
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", SLOW_BFLOAT16],
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    taken, gain = done.stdout.split()
    assert taken == "float32" and float(gain) < 0.97


def test_a_network_that_cannot_be_built_is_no_candidate_and_keeps_nothing_from_running(
    run: Run, cache: Path
) -> None:
    unknown = replace(AUTO, model=Encoder(name="resnet19", weights="none"))
    asking_for(run, AUTO, unknown)
    assert precision(run, "0000", AUTO) == "float32", "one family has no figure"
    facts = read_json(run.compute)
    assert any("resnet19" in why for why in facts["failed"].values()), facts["failed"]
