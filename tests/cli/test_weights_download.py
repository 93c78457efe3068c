"""Weights from the hub come whole into the cache or not at all; the hub is a server of ours."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from brainseg.cli.main import main
from brainseg.models import medical_weights
from brainseg.models.encoders import build_encoder
from brainseg.models.weights import fill, require_weights
from tests.support.medical_files import (
    HUB,
    last_features,
    left_in_cache,
    model,
    published,
    refusal,
)

torch.set_num_threads(1)


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


@pytest.mark.parametrize("name", ["resnet18", "tu-resnet18"])
def test_weights_with_a_flipped_bit_are_downloaded_again_and_never_used(
    room: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(room / "hub"))
    save_file(model("resnet18").state_dict(), room / "model.safetensors")
    hub.content = (room / "model.safetensors").read_bytes()
    fill(build_encoder(name), "imagenet", name=name)

    def damaged() -> Path:
        (blob,) = (path for path in room.glob("hub/*/blobs/*") if len(path.name) == 64)
        content = bytearray(blob.read_bytes())
        content[-5] ^= 1
        blob.write_bytes(content)
        return blob

    blob = damaged()
    require_weights(name, "imagenet")
    assert "model.safetensors does not have its checksum; it is removed" in capsys.readouterr().out
    assert blob.read_bytes() == hub.content
    damaged()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=f"of '{name}' are not in the hub's cache"):
        fill(build_encoder(name), "imagenet", name=name)


@pytest.mark.parametrize("content", [b"", b"garbage" * 99])
def test_a_damaged_file_of_torch_s_cache_is_removed_and_never_loaded(
    room: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(room))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(room / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    name = Path(timm.get_pretrained_cfg("legacy_seresnet18.in1k").url).name
    file = room / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(ValueError, match="are not in the hub's cache"):
        require_weights("tu-legacy_seresnet18", "imagenet")
    assert not file.exists()


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
