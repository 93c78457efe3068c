"""What a process keeps of a network: the same answers, fewer readings, and nothing stale."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from brainseg.config.hyperparameters import Encoder, First, Nothing
from brainseg.models import freezing, network, weights
from brainseg.models.network import Network, build_network
from brainseg.models.reuse import StartState
from brainseg.process import Recent
from tests.support.encoders import shared

torch.set_num_threads(1)
SMALL = Encoder(name="resnet18", weights="none", freeze=First(blocks=2))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has built no network yet."""
    monkeypatch.setattr(network, "_blocks", Recent(most=64))
    monkeypatch.setattr(network, "_in_eval", Recent(most=256))
    most = weights.KEPT_BYTES
    monkeypatch.setattr(weights, "_loaded", Recent(most, lambda state: state.num_bytes))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "start.pt"
    torch.save(shared("resnet18").state_dict(), path)
    settle()
    return path


def settle() -> None:
    """Until files that were just written are told from a next writing."""
    time.sleep(1.1)


def frozen_network(file: Path, count: int = 2) -> Network:
    built = build_network(replace(SMALL, weights=str(file)), 3, 64)
    built.freeze(count)
    return built


def test_what_is_kept_is_what_would_be_found_anew(file: Path) -> None:
    for count in (2, 0, 5):
        first, again = frozen_network(file, count), frozen_network(file, count)
        assert first.blocks == again.blocks
        found = set(freezing.modules_in_eval(again.encoder, 3, 64))
        names = {name for name, module in again.encoder.named_modules() if module in found}
        kept = set(again._in_eval)
        assert {name for name, m in again.encoder.named_modules() if m in kept} == names
        start = first.fingerprints(at_start=True)
        assert start == again.fingerprints(at_start=True) == again.fingerprints()
        state = first.encoder.state_dict()
        assert all(torch.equal(state[k], t) for k, t in again.encoder.state_dict().items())


def test_weights_that_change_on_disk_are_read_again(file: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(file, tmp_path))
    settle()
    before = frozen_network(file).encoder.state_dict()
    os.utime(file, ns=(0, 0))
    assert weights._loaded.weight
    changed = {key: t + t for key, t in shared("resnet18").state_dict().items()}
    torch.save(changed, file)
    os.utime(file, ns=(0, 0))  # of the same time and size
    after = frozen_network(file).encoder.state_dict()
    assert not torch.equal(before["conv1.weight"], after["conv1.weight"])
    file.unlink()
    with pytest.raises(ValueError, match=f"there is no file {file}"):
        frozen_network(file)


def test_a_tensor_that_training_changed_is_not_taken_for_what_was_loaded(file: Path) -> None:
    built = frozen_network(file)
    start = built.fingerprints(at_start=True)
    with torch.no_grad():
        built.encoder.get_parameter("conv1.weight")[0, 0, 0, 0] += 1e-6
    assert freezing.changed(start, built.fingerprints()) == ["conv1.weight"]
    assert freezing.changed(start, built.fingerprints(at_start=True)) == ["conv1.weight"]
    assert frozen_network(file).fingerprints(at_start=True) == start  # nor does it change that


@pytest.mark.parametrize("value", [-0.0, float("nan")])
def test_hashes_are_shared_by_bits_not_by_values(value: float) -> None:
    start = StartState({"a": torch.tensor([0.0, value])})
    hashed: list[torch.Tensor] = []

    def hash_of(tensor: torch.Tensor) -> str:
        hashed.append(tensor)
        return str(tensor.view(torch.int32).tolist())

    same, other = torch.tensor([0.0, value]), torch.tensor([-0.0, value])
    assert start.digest("a", same, hash_of) == start.digest("a", same.clone(), hash_of)
    assert len(hashed) == 1
    assert start.digest("a", other, hash_of) != start.digest("a", same, hash_of)


def test_a_hundred_networks_leave_no_more_than_the_limit() -> None:
    kept = Recent[int, StartState](1000, lambda state: state.num_bytes)
    for key in range(100):
        kept.keep(key, StartState({"a": torch.zeros(100)}))  # 400 bytes
    assert kept.weight == 800 and kept.find(99) and kept.find(97) is None
    kept.keep(100, StartState({"a": torch.zeros(1000)}))  # of more than there is room for
    assert kept.weight == 0


def test_another_decoder_size_or_depth_is_another_network(file: Path) -> None:
    one = build_network(replace(SMALL, weights=str(file), decoder="deeplabv3plus"), 3, 64)
    two = build_network(replace(SMALL, weights=str(file), freeze=Nothing()), 1, 64)
    state = two.encoder.state_dict()
    assert state["conv1.weight"].shape[1] == 1
    assert len(one.blocks) == len(freezing.blocks(one.encoder, 3, 64))
