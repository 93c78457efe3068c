"""A trial resumes as if never stopped, from the newest checkpoint that is whole."""

import errno
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainseg.records.checkpoint_index import has_whole, remedied
from brainseg.records.files import read_json
from brainseg.training.keeping.checkpoint import (
    drop_latest,
    keep_newest,
    newest,
    save_latest,
    save_network,
)

torch.set_num_threads(1)


def state(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "best_dice": 0.1 * epoch, "network": {"w": torch.full((64,), epoch)}}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def damage(path: Path) -> None:
    """Cut a file in half, as a full disk or a lost node does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def epoch_of(folder: Path) -> object:
    return newest(folder).state.get("epoch")


def test_a_trial_that_saved_nothing_has_nothing_to_resume_from(tmp_path: Path) -> None:
    assert newest(tmp_path).state == {}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_latest(tmp_path, 3, state(3))
    loaded = newest(tmp_path).state
    assert torch.equal(loaded["network"]["w"], torch.full((64,), 3))
    assert (loaded["epoch"], loaded["best_dice"]) == (3, 0.1 * 3)


def train(network: nn.Module, optimizer: torch.optim.Optimizer, images: list[Tensor]) -> None:
    for image_BCHW in images:
        optimizer.zero_grad()
        network(image_BCHW).square().mean().backward()
        optimizer.step()


def fresh(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    return network, torch.optim.AdamW(network.parameters(), lr=0.01)


def test_training_that_was_cut_in_two_ends_where_it_would_have(tmp_path: Path) -> None:
    images = list(torch.randn(6, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    whole, optimizer = fresh(1)
    train(whole, optimizer, images)

    first, optimizer = fresh(1)
    train(first, optimizer, images[:3])
    parts = {"network": first.state_dict(), "optimizer": optimizer.state_dict()}
    save_latest(tmp_path, 1, parts)
    second, optimizer = fresh(2)
    loaded = newest(tmp_path).state
    second.load_state_dict(loaded["network"])
    optimizer.load_state_dict(loaded["optimizer"])
    train(second, optimizer, images[3:])

    for key, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[key], tensor), key


def test_the_last_two_are_kept_and_nothing_else_is_left(tmp_path: Path) -> None:
    for epoch in range(1, 6):
        save_latest(tmp_path, epoch, state(epoch))
    assert names(tmp_path) == {"latest-0004.pt", "latest-0005.pt", "checkpoints.json"}
    assert epoch_of(tmp_path) == 5


@pytest.mark.parametrize(("harm", "word"), [(damage, "damaged"), (Path.unlink, "missing")])
def test_a_damaged_or_missing_newest_checkpoint_is_skipped_and_this_is_reported(
    tmp_path: Path, harm: Callable[[Path], None], word: str
) -> None:
    save_latest(tmp_path, 1, state(1))
    save_latest(tmp_path, 2, state(2))
    harm(tmp_path / "latest-0002.pt")
    found = newest(tmp_path)
    assert (found.file, found.problems) == ("latest-0001.pt", (f"latest-0002.pt is {word}",))
    assert newest(tmp_path).problems == (), "said once"
    keep_newest(tmp_path)
    assert epoch_of(tmp_path) == 1, "and what was skipped is not kept in its place"


@pytest.mark.parametrize("index", [None, "", "[]", "{}", "[1]", '[{"file": "latest-0002.pt"'])
def test_a_lost_index_is_made_again_from_the_files(tmp_path: Path, index: str | None) -> None:
    for epoch in (1, 2):
        save_latest(tmp_path, epoch, state(epoch))
    whole = read_json(tmp_path / "checkpoints.json")
    (tmp_path / "checkpoints.json").unlink()
    if index is not None:
        (tmp_path / "checkpoints.json").write_text(index)
    found = newest(tmp_path)
    assert found.state["epoch"] == 2
    assert found.problems == (
        "checkpoints.json is missing" if index is None else "checkpoints.json names no checkpoint",
    )
    assert read_json(tmp_path / "checkpoints.json") == whole[:1]
    assert newest(tmp_path).problems == ()


def test_a_lost_index_beside_a_damaged_file_leads_to_the_whole_one(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_latest(tmp_path, epoch, state(epoch))
    (tmp_path / "checkpoints.json").unlink()
    newest_file = tmp_path / "latest-0002.pt"
    held = bytearray(newest_file.read_bytes())
    held[held.index(b"\2\0\0\0\0\0\0\0\2")] ^= 4  # one bit of a tensor
    newest_file.write_bytes(held)
    found = newest(tmp_path)
    assert found.problems == ("checkpoints.json is missing", "latest-0002.pt is damaged")
    assert found.state["epoch"] == 1


def test_an_index_of_files_that_are_gone_leads_to_one_that_it_does_not_name(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_latest(tmp_path, epoch, state(epoch))
    (tmp_path / "latest-0003.pt").rename(tmp_path / "kept")
    (tmp_path / "latest-0002.pt").unlink()
    torch.save(state(1), tmp_path / "latest-0001.pt")  # restored from a copy
    found = newest(tmp_path)
    assert found.problems == ("latest-0003.pt is missing", "latest-0002.pt is missing")
    assert found.state["epoch"] == 1


def test_a_file_under_another_epoch_s_name_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(state(1), tmp_path / "latest-0007.pt")
    assert newest(tmp_path).problems == ("checkpoints.json is missing", "latest-0007.pt is damaged")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.write_text, (tmp_path / "harm", "done"))

    torch.save({**state(1), "harm": Harm()}, tmp_path / "latest-0001.pt")
    assert newest(tmp_path).state == {} and not (tmp_path / "harm").exists()


def test_the_remedy_for_damaged_checkpoints_works_and_can_be_recognised(tmp_path: Path) -> None:
    save_latest(tmp_path, 1, state(1))
    damage(tmp_path / "latest-0001.pt")
    assert not has_whole(tmp_path) and not remedied(tmp_path)
    with pytest.raises(ValueError) as error:
        newest(tmp_path)
    (tmp_path / "failure").write_text(str(error.value))
    assert not remedied(tmp_path), "nobody has followed it yet"
    (tmp_path / "checkpoints.json").unlink()
    assert remedied(tmp_path)
    assert newest(tmp_path).file == "" and "latest-0001.pt is damaged" in newest(tmp_path).problems
    save_latest(tmp_path, 1, state(1))
    assert epoch_of(tmp_path) == 1 and has_whole(tmp_path)
    (tmp_path / "failure").write_text("the loss became nan")
    (tmp_path / "checkpoints.json").unlink()
    assert not remedied(tmp_path), "another failure asks for something else"


def test_a_single_flipped_bit_is_seen(tmp_path: Path) -> None:
    save_latest(tmp_path, 1, state(1))
    save_latest(tmp_path, 2, state(2))
    newest = tmp_path / "latest-0002.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert epoch_of(tmp_path) == 1


def test_the_epoch_that_was_lost_can_be_saved_again(tmp_path: Path) -> None:
    save_latest(tmp_path, 1, state(1))
    save_latest(tmp_path, 2, state(2))
    damage(tmp_path / "latest-0002.pt")
    save_latest(tmp_path, 2, state(2))
    assert epoch_of(tmp_path) == 2
    assert [entry["file"] for entry in read_json(tmp_path / "checkpoints.json")] == [
        "latest-0002.pt",
        "latest-0001.pt",
    ]
    assert {"latest-0001.pt", "latest-0002.pt"} <= names(tmp_path)


def test_without_a_whole_checkpoint_resuming_is_an_error_and_not_a_fresh_start(
    tmp_path: Path,
) -> None:
    save_latest(tmp_path, 1, state(1))
    save_latest(tmp_path, 2, state(2))
    damage(tmp_path / "latest-0001.pt")
    damage(tmp_path / "latest-0002.pt")
    with pytest.raises(ValueError) as error:
        newest(tmp_path)
    assert str(error.value) == (
        f"no checkpoint in {tmp_path} is whole (latest-0002.pt is damaged, latest-0001.pt is "
        "damaged); delete checkpoints.json there to start the trial again from its first epoch"
    )


def test_a_process_killed_before_the_index_was_written_resumes_from_the_checkpoint_before(
    tmp_path: Path,
) -> None:
    save_latest(tmp_path, 1, state(1))
    torch.save(state(2), tmp_path / "latest-0002.pt")
    (tmp_path / ".latest-0003.pt.4711").write_bytes(b"half")
    assert epoch_of(tmp_path) == 1


def test_half_a_checkpoint_of_a_killed_process_goes_when_its_epoch_is_saved_again(
    tmp_path: Path,
) -> None:
    for torn in (".latest-0001.pt.4711", ".latest-0001.pt.4712"):
        (tmp_path / torn).write_bytes(b"half")
    save_latest(tmp_path, 1, state(1))
    assert names(tmp_path) == {"latest-0001.pt", "checkpoints.json"}


def test_a_trial_that_ended_keeps_the_network_that_counts_alone(tmp_path: Path) -> None:
    save_latest(tmp_path, 1, state(1))
    save_latest(tmp_path, 2, state(2))
    save_network(tmp_path / "best.pt", state(1)["network"], 1)
    drop_latest(tmp_path)
    assert names(tmp_path) == {"best.pt"}
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1
    assert newest(tmp_path).state == {}


def test_a_trial_that_saved_nothing_can_end(tmp_path: Path) -> None:
    drop_latest(tmp_path)
    assert names(tmp_path) == set()


def test_a_new_best_replaces_the_old(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_network(tmp_path / "best.pt", state(epoch)["network"], epoch)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 2
    assert names(tmp_path) == {"best.pt"}


def test_a_paused_trial_keeps_one_checkpoint_and_resumes_from_it(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_latest(tmp_path, epoch, state(epoch))
    keep_newest(tmp_path)
    assert names(tmp_path) == {"latest-0003.pt", "checkpoints.json"}
    assert epoch_of(tmp_path) == 3
    save_latest(tmp_path, 4, state(4))
    assert epoch_of(tmp_path) == 4


def test_a_disk_without_room_is_said_to_be_one(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # bytes of a file, at most
    try:
        with pytest.raises(OSError, match="latest-0001") as raised:
            save_latest(tmp_path, 1, {"network": {"large": torch.zeros(100_000)}, "epoch": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
