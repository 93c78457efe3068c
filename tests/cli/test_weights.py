"""Medical weights come into the cache whole, checked and with their terms accepted, or not at all.

Downloads: test_weights_download.py.
"""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from brainseg.cli.main import main
from brainseg.models import medical_weights
from brainseg.models.encoders import build_encoder, require_known
from brainseg.models.weights import fill, require_weights
from tests.support.medical_files import (
    HUB,
    PUBLISHED,
    SMALL,
    in_model_state,
    last_features,
    left_in_cache,
    model,
    published,
    refusal,
)

torch.set_num_threads(1)


# The registry


def test_each_entry_has_a_page_terms_and_an_encoder_that_exists() -> None:
    assert {entry.name for entry in medical_weights.ALL} == PUBLISHED.keys()
    for entry in medical_weights.ALL:
        require_known(entry.encoder)
        assert entry.page.startswith("https://") and entry.terms and entry.licence and entry.cite
        assert entry.sha256 == "" or len(bytes.fromhex(entry.sha256)) == 32


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_are_mapped_so_that_the_features_are_the_same(
    room: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A made file cannot have the authors' checksum: it stands in for one whose is not known.
    entries = [medical_weights.replace(entry, sha256="") for entry in medical_weights.ALL]
    monkeypatch.setattr(medical_weights, "ALL", tuple(entries))
    entry, file = medical_weights.named(name), published(name, room)
    main(["weights", "fetch", name, "--from", str(file), "--accept-terms"])
    network = build_encoder(entry.encoder).eval()
    fill(network, f"medical:{name}", name=entry.encoder)
    whole, image_BCHW = model(entry.encoder), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(image_BCHW)[-1], last_features(whole, image_BCHW))


def test_medical_weights_are_adapted_to_one_channel(room: Path) -> None:
    main(["weights", "fetch", SMALL, "--from", str(published(SMALL, room)), "--accept-terms"])
    network = build_encoder("resnet18", 1)
    fill(network, f"medical:{SMALL}", name="resnet18")
    colours = model("resnet18").get_submodule("conv1").weight
    assert torch.equal(network.get_submodule("conv1").weight, colours.sum(1, keepdim=True))
    require_weights("resnet18", f"medical:{SMALL}", 4)


# By hand


def test_terms_are_shown_and_must_be_accepted(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(SMALL, room)
    with pytest.raises(SystemExit):
        main(["weights", "fetch", SMALL, "--from", str(file)])
    printed = capsys.readouterr()
    entry = medical_weights.named(SMALL)
    assert all(text in printed.out for text in (entry.page, entry.licence, entry.terms, entry.cite))
    assert printed.err == (
        f"brainseg: the terms of medical:{SMALL} must be accepted by whoever uses it; read them "
        "above, then run the same command with --accept-terms\n"
    )
    assert left_in_cache(room) == []


def test_a_file_brought_by_hand_is_kept_with_its_checksum(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(SMALL, room)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    main(["weights", "fetch", f"medical:{SMALL}", "--from", str(file), "--accept-terms"])
    kept = room / "cache" / "weights" / SMALL / "ResNet18.pth"
    assert kept.read_bytes() == file.read_bytes()
    assert (kept.parent / "ResNet18.pth.sha256").read_text() == f"{digest}  ResNet18.pth\n"
    assert left_in_cache(room) == ["ResNet18.pth", "ResNet18.pth.sha256"]
    capsys.readouterr()
    main(["weights", "fetch", SMALL, "--offline"])  # and no terms again
    assert capsys.readouterr().out == f"{kept}\n"


def test_without_a_file_it_says_where_to_get_it(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, "fetch", SMALL, "--accept-terms") == (
        f"brainseg: medical:{SMALL} can only be downloaded by hand: get ResNet18.pth in "
        "ResNet18.tar.gz from https://github.com/AIlab-RITEH/RadiologyNET-TL-models and run "
        f"`brainseg weights fetch {SMALL} --from FILE`\n"
    )
    message = refusal(capsys, "fetch", SMALL, "--accept-terms", "--from", str(room / "no.pth"))
    assert message == (
        "brainseg: --from must name the downloaded ResNet18.pth, there is no file "
        f"{room / 'no.pth'}\n"
    )


@pytest.mark.parametrize("broken", ["half", "other", "archive", "missing", "more"])
def test_a_file_that_does_not_fit_is_not_kept(
    room: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    file = published(SMALL, room)
    state = torch.load(file, weights_only=True)
    if broken == "half":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif broken == "other":
        torch.save(in_model_state(model("resnet34")), file)
    elif broken == "archive":
        shutil.make_archive(str(room / "a"), "zip", room, file.name)
        file = room / "a.zip"
    elif broken == "missing":
        del state["model_state"]["model.layer4.1.bn2.bias"]
        torch.save(state, file)
    elif broken == "more":
        state["model_state"]["model.layer5.weight"] = torch.zeros(3)
        torch.save(state, file)
    message = refusal(capsys, "fetch", SMALL, "--accept-terms", "--from", str(file))
    assert "does not fit the encoder 'resnet18'" in message or "cannot be read" in message
    assert left_in_cache(room) == []


def test_another_checksum_than_the_one_asked_for_is_refused(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(SMALL, room)
    words = ("fetch", SMALL, "--accept-terms", "--from", str(file))
    assert "must have the SHA-256 0000, this one has" in refusal(capsys, *words, "--sha256=0000")
    assert left_in_cache(room) == []
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    main(["weights", *words, f"--sha256={digest.upper()}"])


def test_an_option_does_not_override_the_checksum_of_the_registry(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published("radimagenet-resnet50", room)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    words = ("fetch", "radimagenet-resnet50", "--accept-terms", "--from", str(file))
    message = refusal(capsys, *words, f"--sha256={digest}")
    assert (
        f"must have the SHA-256 {medical_weights.named('radimagenet-resnet50').sha256}" in message
    )
    assert left_in_cache(room) == []


# In a trial


def test_weights_that_are_not_in_the_cache_name_the_command_that_fetches_them(room: Path) -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet18", f"medical:{SMALL}")
    assert str(error.value) == (
        f"the weights medical:{SMALL} are not in this machine's cache "
        f"({room}/cache/weights/{SMALL}/ResNet18.pth); run `brainseg weights fetch {SMALL}` on it"
    )


def test_a_file_that_changed_in_the_cache_is_refused_with_what_to_do(room: Path) -> None:
    main(["weights", "fetch", SMALL, "--from", str(published(SMALL, room)), "--accept-terms"])
    kept = medical_weights.named(SMALL).path
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(ValueError, match=r"must have the SHA-256 \w{64} of the fetched file, it"):
        fill(build_encoder("resnet18"), f"medical:{SMALL}", name="resnet18")
    with pytest.raises(ValueError, match=f"delete it and run `brainseg weights fetch {SMALL}` aga"):
        require_weights("resnet18", f"medical:{SMALL}")


def test_a_file_put_into_the_cache_without_the_command_is_not_used(room: Path) -> None:
    kept = medical_weights.named(SMALL).path
    kept.parent.mkdir(parents=True)
    shutil.copy(published(SMALL, room), kept)
    with pytest.raises(ValueError, match="are not in this machine's cache"):
        require_weights("resnet18", f"medical:{SMALL}")


def test_weights_of_another_encoder_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet34", "medical:lvm-med-resnet50")
    assert str(error.value) == (
        "the weights medical:lvm-med-resnet50 are of the encoder 'resnet50', not of 'resnet34'; "
        "set model.encoder.name=resnet50, or take other weights"
    )


def test_an_unknown_name_is_refused_with_the_names_that_are_close(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet50", "medical:radimagenet-resnet")
    assert str(error.value).startswith(
        "there are no medical weights 'radimagenet-resnet'; did you mean 'radimagenet-resnet50'"
    )
    assert "there is no encoder 'resnet19'" in refusal(capsys, "fetch", "resnet19")


def test_the_list_shows_licences_and_what_is_in_the_cache(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["weights", "fetch", SMALL, "--from", str(published(SMALL, room)), "--accept-terms"])
    capsys.readouterr()
    main(["weights", "list"])
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows.keys() == {f"medical:{entry.name}" for entry in medical_weights.ALL}
    assert rows[f"medical:{SMALL}"][-1] == "yes" and rows[f"medical:{HUB}"][-1] == "no"


def test_a_cache_that_cannot_be_written_is_named(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (room / "cache").write_text("a file where the folder should be")
    message = refusal(capsys, "fetch", SMALL, "--accept-terms", f"--from={published(SMALL, room)}")
    assert "the cache must be a writable folder with room for ResNet18.pth" in message
    assert "set BRAINSEG_CACHE to another" in message
