"""Medical weights come into the cache whole, checked and with their terms accepted, or not at all.

The files are made here, of random numbers, by wrapping torchvision's models as their authors did:
see `medical_weights.ALL` for the pages whose code says how. The hub is a server on this machine.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from brainseg.cli.main import main
from brainseg.models import medical_weights
from brainseg.models.encoders import build_encoder, require_known
from brainseg.models.weights import fill, require_weights

torch.set_num_threads(1)

SMALL = "radiologynet-resnet18"  # by hand
HUB = "radimagenet-densenet121"  # on the hub, checksum not known beforehand


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a cache in it; emptied, since weights are large."""
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    shutil.rmtree(tmp_path)


def model(name: str) -> nn.Module:
    torch.manual_seed(3)
    made: nn.Module = torchvision.models.get_model(name, weights=None)
    for key, tensor in made.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_()
    return made.eval()


def without_last(whole: nn.Module) -> nn.Module:
    """As RadImageNet's notebook: a Sequential of the children, called backbone."""
    return nn.ModuleDict({"backbone": nn.Sequential(*list(whole.children())[:-1])})


def joined(whole: nn.Module) -> nn.Module:
    """As BioViL's image model: encoder.encoder, and a projector beside."""
    inner = nn.ModuleDict({"encoder": whole})
    return nn.ModuleDict({"encoder": inner, "projector": nn.Conv2d(2048, 128, 1)})


def in_model_state(whole: nn.Module) -> dict[str, Any]:
    """As RadiologyNET's files: the network in `model`, its state in `model_state`, beside more."""
    return {"model_state": nn.ModuleDict({"model": whole}).state_dict(), "epoch": 12}


PUBLISHED: dict[str, Callable[[nn.Module], Any]] = {
    "radimagenet-resnet50": lambda whole: without_last(whole).state_dict(),
    "radimagenet-densenet121": lambda whole: without_last(whole).state_dict(),
    "radiologynet-resnet50": in_model_state,
    "radiologynet-resnet18": in_model_state,
    "lvm-med-resnet50": lambda whole: whole.state_dict(),
    "biovil-resnet50": lambda whole: joined(whole).state_dict(),
}


def published(name: str, folder: Path) -> Path:
    """A made file of such weights, as they are published."""
    entry = medical_weights.named(name)
    file = folder / entry.file
    torch.save(PUBLISHED[name](model(entry.encoder)), file)
    return file


def last_features(whole: nn.Module, image_BCHW: torch.Tensor) -> torch.Tensor:
    layers = [child for name, child in whole.named_children() if name not in ("avgpool", "fc")]
    layers = [layer for layer in layers if not isinstance(layer, nn.Linear)]
    features: torch.Tensor = nn.Sequential(*layers)(image_BCHW)
    return features


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `brainseg weights ...` says when it refuses."""
    with pytest.raises(SystemExit) as ended:
        main(["weights", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def left_in_cache(room: Path) -> list[str]:
    return sorted(path.name for path in (room / "cache").rglob("*") if path.is_file())


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
        f"brainseg: medical:{SMALL} can be downloaded by hand only: get ResNet18.pth in "
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


# From the hub


class Hub:
    """A hub that serves one file, whole or its first half."""

    def __init__(self) -> None:
        self.content, self.half, self.status, self.asked = b"", False, 200, list[str]()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.asked.append(self.path)
                self.send_response(hub.status)
                self.send_header("Content-Length", str(len(hub.content)))
                self.send_header("ETag", f'"{hashlib.sha256(hub.content).hexdigest()}"')
                revision = self.path.split("/")[-2]
                self.send_header("X-Repo-Commit", revision if len(revision) == 40 else "0" * 40)
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                self.wfile.write(hub.content[: len(hub.content) // 2] if hub.half else hub.content)
                hub.status = 500 if hub.half else 200  # and breaks down

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub()
    # What HF_ENDPOINT does, which is read when the library is imported.
    path = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.address + path)
    yield served
    served.close()


FETCH = ("fetch", HUB, "--accept-terms")


def test_a_download_is_kept_whole_and_taken_by_the_encoder(room: Path, hub: Hub) -> None:
    hub.content = published(HUB, room).read_bytes()
    main(["weights", *FETCH])
    assert left_in_cache(room) == ["DenseNet121.pt", "DenseNet121.pt.sha256"]
    assert medical_weights.cached(medical_weights.named(HUB)).read_bytes() == hub.content
    assert hub.asked[0] == "/Lab-Rasool/RadImageNet/resolve/main/DenseNet121.pt"
    require_weights("densenet121", f"medical:{HUB}")
    times = len(hub.asked)
    main(["weights", *FETCH])
    assert len(hub.asked) == times  # it is here


def test_an_interrupted_download_leaves_nothing(
    room: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.content, hub.half = published(HUB, room).read_bytes(), True
    assert f"medical:{HUB} cannot be downloaded from the hub's" in refusal(capsys, *FETCH)
    assert left_in_cache(room) == []
    hub.half, hub.status = False, 200
    main(["weights", *FETCH])
    assert "DenseNet121.pt" in left_in_cache(room)


def test_a_download_that_is_another_file_is_not_kept(
    room: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.content = b"<html>please log in</html>"
    assert "cannot be read as a state dict" in refusal(capsys, *FETCH)
    message = refusal(capsys, "fetch", "radimagenet-resnet50", "--accept-terms")
    assert message.startswith(
        "brainseg: ResNet50.pt of medical:radimagenet-resnet50 must have the SHA-256 08629f7e"
    )
    assert "--from FILE" in message and left_in_cache(room) == []


def test_a_file_that_is_gone_from_the_hub_is_named_with_another_source(
    room: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = 404
    message = refusal(capsys, *FETCH)
    assert "cannot be downloaded from the hub's Lab-Rasool/RadImageNet (" in message
    assert "get DenseNet121.pt in RadImageNet_pytorch.zip from https://github.com/BMEII" in message
    assert left_in_cache(room) == []


@pytest.mark.parametrize(
    ("name", "weights", "page"),
    [
        ("resnet18", "imagenet", "/smp-hub/resnet18.imagenet/resolve/3f2325ff"),
        ("resnet18", "ssl", "/smp-hub/resnet18.ssl/resolve/"),
        ("tu-resnet18", "imagenet", "/timm/resnet18.a1_in1k/resolve/main"),
        ("tu-resnet18", "tv_in1k", "/timm/resnet18.tv_in1k/resolve/main"),
        ("tu-resnet18.tv_in1k", "imagenet", "/timm/resnet18.tv_in1k/resolve/main"),
    ],
)
@pytest.mark.parametrize("channels", [3, 1])
def test_weights_of_the_libraries_come_from_their_pages_and_stay_in_the_hub_s_cache(
    room: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    weights: str,
    page: str,
    channels: int,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(room / "hub"))
    save_file(model("resnet18").state_dict(), room / "model.safetensors")
    hub.content = (room / "model.safetensors").read_bytes()
    main(["weights", "fetch", name, "--weights", weights])
    assert any(asked.startswith(page) for asked in hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    network = build_encoder(name, channels).eval()
    fill(network, weights, name=name)
    image_BCHW = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = last_features(model("resnet18"), image_BCHW.expand(1, 3, 64, 64))
        features = network(image_BCHW.expand(1, channels, 64, 64))[-1]
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3)


def test_offline_no_request_goes_to_the_hub(
    room: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # restored, since --offline sets it
    message = refusal(capsys, *FETCH, "--offline")
    assert f"the weights medical:{HUB} are not in this machine's cache" in message
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as read at start
    message = refusal(capsys, *FETCH)
    assert f"medical:{HUB} must be downloaded and HF_HUB_OFFLINE forbids it" in message
    assert hub.asked == [] and left_in_cache(room) == []


def test_a_cache_that_cannot_be_written_is_named(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (room / "cache").write_text("a file where the folder should be")
    message = refusal(capsys, "fetch", SMALL, "--accept-terms", f"--from={published(SMALL, room)}")
    assert "the cache must be a writable folder with room for ResNet18.pth" in message
    assert "set BRAINSEG_CACHE to another" in message
