"""Failed trials that are tried again by themselves: the cause is gone by their own words."""

from pathlib import Path

import pytest
import torch

from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.launch.retries import why_retry
from brainseg.models.encoders import build_encoder
from brainseg.models.weights import load_weights
from brainseg.records.files import write_text
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from tests.support.tasks import task_of

GPU = (
    "out of memory with 1 of 4 images at once (GPU memory: tried to allocate 2.00 GiB. GPU 0 has "
    "a total capacity of {} GiB of which 1.00 GiB is free); try a smaller image_size"
)


def failed(path: Path, reason: str, config: TrialConfig | None = None) -> tuple[Run, TrialRecord]:
    run = Run(path)
    run.create()
    task_of(run, "0000", config or TrialConfig())
    write_text(run.trial("0000").failure, reason)
    return run, TrialRecord("0000", TrialState.FAILED, reason=reason)


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("infeasible: RAM, even alone: its host ran out of memory", "may have more memory now"),
        ("out of memory with 1 of 4 images at once (RAM: 0.5 GB", "may have more memory now"),
        ("its processes died at every attempt: [Errno 28] No space left on device", "the storage"),
        ("the loss became nan at step 3, on the batch of P1 slice 2", ""),
        ("no checkpoint in /x is whole; delete checkpoints.json there to start", ""),
        (GPU.format("4096.0"), ""),
    ],
    ids=lambda value: value[:20],
)
def test_the_machine_s_lack_is_tried_again_and_a_trial_s_own_fault_is_not(
    tmp_path: Path, reason: str, why: str
) -> None:
    run, record = failed(tmp_path, reason)
    retried = why_retry(run, record, asked=False)
    assert why in retried and bool(retried) == bool(why)
    assert why_retry(run, record, asked=True) == "--retry-failed"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_larger_gpu_is_reason_enough(tmp_path: Path) -> None:
    assert "GiB" in why_retry(*failed(tmp_path, GPU.format("1.0")), asked=False)


def test_weights_that_vanished_are_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "own.pth"
    config = TrialConfig(model=Encoder(name="resnet18", weights=str(file)))
    with pytest.raises(ValueError) as refused:
        load_weights(build_encoder("resnet18", 3), file, name="resnet18")
    run, record = failed(tmp_path / "run", str(refused.value), config)
    assert why_retry(run, record, asked=False) == ""
    torch.save(build_encoder("resnet18", 3).state_dict(), file)
    assert why_retry(run, record, asked=False) == "its weights are there now"
