"""A trial that has a checkpoint needs no starting weights; one without names what it lacks."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from brainseg.config.hyperparameters import First
from brainseg.models import freezing
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from tests.support.trials import SMALL, TINY, last_state, nothing, trained

opened: Counter[str] = Counter()


def _count_opens(event: str, args: Any) -> None:
    if event == "open":
        opened[str(args[0])] += 1


sys.addaudithook(_count_opens)  # for good: Python has no way to remove it


@contextmanager
def counted_probes() -> Iterator[list[Tensor]]:
    """Black images that go through encoders, as when their blocks are looked for."""
    probes: list[Tensor] = []

    def note(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, EncoderMixin) and not inputs[0].any():
            probes.append(inputs[0])

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield probes
    finally:
        hook.remove()


def test_weights_that_vanish_while_a_trial_trains_are_not_missed(run: Run) -> None:
    donor = trained(run, "donor", replace(TINY, model=SMALL, epochs=1), nothing)
    file = run.path / "start.pt"
    shutil.copy(donor.path / "best.pt", file)
    model = replace(SMALL, weights=str(file), freeze=First(blocks=2))
    config = replace(TINY, model=model, epochs=2)
    whole = trained(run, "whole", config, nothing)

    def cut(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", config, cut)
    file.unlink()
    again = trained(run, "t", config, nothing)
    assert again.ending().reason == "" and again.notes() == []
    expected, resumed = last_state(whole)["network"], last_state(again)["network"]
    assert all((expected[key] == resumed[key]).all() for key in expected)
    assert again.audit() == whole.audit() and not again.audit()[0]["changed"]
    late = trained(run, "late", config, nothing)
    assert f"there is no file {file}" in late.ending().reason


def test_a_second_trial_finds_no_blocks_reads_no_weights_and_hashes_nothing_at_its_start(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Tensor] = []
    real = freezing._hash
    monkeypatch.setattr(freezing, "_hash", lambda tensor: (hashed.append(tensor), real(tensor))[1])
    donor = trained(run, "donor", replace(TINY, model=SMALL, epochs=1), nothing)
    file = str(donor.path / "best.pt")
    model = replace(SMALL, weights=file, freeze=First(blocks=2))
    config = replace(TINY, model=model, epochs=1, image_size=64)  # of a size that no other test has
    hashed.clear(), opened.clear()
    time.sleep(1.1)  # until a file that was just written is told from a next writing
    with counted_probes() as probes:
        first = trained(run, "first", config, nothing)
    hashes, reads = len(hashed), opened[file]
    assert len(probes) >= 2 and reads > 0
    with counted_probes() as probes:
        second = trained(run, "second", replace(config, seed=1), nothing)
    assert probes == [] and opened[file] == reads
    frozen = second.audit()[-1]["tensors"]
    assert hashes == 2 * frozen  # at the start, and at the end
    assert len(hashed) - hashes == frozen  # at the end, where they prove something
    assert first.frozen.read_text() == second.frozen.read_text()
    assert not second.audit()[-1]["changed"]
