"""An exported graph says what the model says, to programs that do not have brainseg."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import read_image
from brainseg.data.table import read_slices
from brainseg.inference.bundle import read_bundle
from brainseg.inference.export import onnx
from brainseg.inference.export.formats import FILES, FORMATS, GraphFormat
from brainseg.inference.export.parity import TOLERANCE
from brainseg.inference.export.real import first_patient
from brainseg.inference.export.write import export
from brainseg.inference.model import Model
from brainseg.models.network import Network
from tests.support.models import model_of, untrained
from tests.support.sweeps import brainseg
from tests.support.trials import NORMED, TINY, nothing, run_of, trained

torch.set_num_threads(1)
PLAIN = replace(TINY, model=NORMED)
RESNET = replace(TINY, image_size=64, model=Encoder(name="resnet18", weights="none"))
GRAPHS: tuple[GraphFormat, ...] = ("onnx", "torchscript")
ALONE = {  # programs of somebody else: an array of slices in, an array of probabilities out
    "onnx": """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(probability,) = session.run(["probability"], {"image": numpy.load(sys.argv[2])})
facts = session.get_modelmeta().custom_metadata_map
threshold = json.loads(facts["threshold"])
""",
    "torchscript": """
import json, sys
import numpy, torch
extra = {"export.json": ""}
program = torch.jit.load(sys.argv[1], _extra_files=extra)
with torch.inference_mode():
    probability = program(torch.from_numpy(numpy.load(sys.argv[2]))).numpy()
threshold = json.loads(extra["export.json"])["threshold"]
""",
}
SAVED = """
numpy.save(sys.argv[3], probability)
print(threshold, [name for name in sys.modules if name.startswith("brainseg")])
"""


def alone(folder: Path, code: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Python in a process of its own, in a folder."""
    command = [sys.executable, "-W", "ignore", "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def levels(*shape: int) -> np.ndarray:
    """Grey levels with a dark background, of another contrast in each slice."""
    random = np.random.default_rng(0).gamma(1.0, 1.0, shape)
    contrast = np.linspace(20, 90, shape[0]).reshape(-1, 1, 1, 1)
    return np.clip(random * contrast - 10, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("to", GRAPHS)
@pytest.mark.parametrize(
    ("config", "members"),
    [
        (replace(PLAIN, normalise="patient", channels=1), 2),
        (replace(PLAIN, normalise="image"), 1),
        (replace(PLAIN, normalise="imagenet"), 1),
        (RESNET, 1),
    ],
)
def test_a_program_without_brainseg_says_what_the_model_says(
    config: TrialConfig, members: int, to: GraphFormat, tmp_path: Path
) -> None:
    model = untrained(config, members=members)
    compared = export(model, tmp_path / "out", to)
    assert len({difference.shape for difference in compared}) == len(compared) == 5
    assert all(difference.is_rounding for difference in compared)

    image_SHWC = levels(3, config.image_size, config.image_size, config.channels)
    np.save(tmp_path / "in.npy", image_SHWC.transpose(0, 3, 1, 2))
    done = alone(tmp_path, ALONE[to] + SAVED, f"out/{FILES[to]}", "in.npy", "p.npy")
    assert done.stdout == "0.4 []\n", done.stderr
    probability = np.load(tmp_path / "p.npy")
    expected = model.probabilities(image_SHWC)
    assert probability.dtype == np.float32 and probability.shape == expected.shape
    assert np.abs(probability - expected).max() < TOLERANCE
    assert expected.max() - expected.min() > 0.01, "a constant would agree with anything"


@pytest.mark.parametrize("to", GRAPHS)
def test_the_folder_says_how_to_call_the_graph(to: GraphFormat, tmp_path: Path) -> None:
    export(untrained(PLAIN), tmp_path / "out", to, real=levels(2, 3, 32, 32))
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["input"]["shape"] == ["slices", 3, "height", "width"]
    assert (facts["image_size"], facts["threshold"], facts["channels"]) == (32, 0.4, list("abc"))
    assert facts["classes"] == {"0": "background", "1": "tumour"}
    assert facts["compared_with_pytorch"][-1]["input"] == "real"
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| real | 2 x 3 x 32 x 32 |" in page and "resized to 32 x 32" in facts["preprocessing"]
    assert "brainseg.load" not in page, "the folder is no bundle"
    code = page.split("```python\n")[1].split("```")[0]
    image = f"import numpy\nimage = numpy.zeros((2, 3, 40, 30), numpy.uint8)\n{code}"
    done = alone(tmp_path / "out", f"{image}\nprint(mask.shape, mask.dtype)")
    assert done.stdout == "(2, 40, 30) bool\n", done.stderr


def test_safetensors_is_a_bundle(tmp_path: Path) -> None:
    model = untrained(PLAIN, members=2)
    assert export(model, tmp_path / "out", "safetensors") == []
    image = levels(2, 32, 32, 3)
    again = read_bundle(tmp_path / "out").probabilities(image)
    assert (again == model.probabilities(image)).all()
    assert FORMATS[0] == "safetensors"


# What cannot be exported


class Branching(nn.Module):
    """Another computation for larger images: a trace has one of the two."""

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW * (2.0 if image_BCHW.shape[2] > 20 else -2.0)


class Rare(nn.Module):
    """Has an operation that ONNX lacks."""

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return torch.special.bessel_j0(image_BCHW)


def model_with(body: nn.Module) -> Model:
    return model_of(PLAIN, [Network(body)])


def test_a_graph_that_says_something_else_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as refused:
        export(model_with(Branching()), tmp_path / "out", "torchscript")
    assert str(refused.value).startswith(
        "an export may differ from PyTorch by rounding, 0.0001 of a probability, TorchScript of "
        "a plain U-Net differs by "
    )
    assert str(refused.value).endswith(
        "try --to onnx, or --to safetensors, which takes every network"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_an_exporter_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a plain U-Net cannot be exported to ONNX") as refused:
        export(model_with(Rare()), tmp_path / "out", "onnx")
    assert "bessel_j0" in str(refused.value) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow above 4 kB, as on a disk that is full there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("to", GRAPHS)
def test_a_full_disk_leaves_no_half_export(to: GraphFormat, tmp_path: Path) -> None:
    with pytest.raises(OSError) as full:
        export(untrained(PLAIN), tmp_path / "out", to)
    assert str(full.value.filename).endswith(FILES[to])
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_more_than_2_gb_lie_in_a_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(untrained(PLAIN), tmp_path / "out", "onnx")
    names = {"README.md", "export.json", "model.onnx"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    monkeypatch.setattr(onnx, "ONE_FILE_BYTES", 1000)
    export(untrained(PLAIN), tmp_path / "out", "onnx")
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"model.onnx.data"}
    monkeypatch.undo()
    export(untrained(PLAIN), tmp_path / "out", "onnx")
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as Python has what is not installed
    done = brainseg("export", str(tmp_path), str(tmp_path / "out"), "--to", "onnx")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == (
        "brainseg: an export to ONNX needs onnx and onnxruntime, onnxruntime cannot be imported; "
        "pip install 'brainseg[onnx]'\n"
    )


# The command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data = write_phantoms(folder / "data", patients=6, slices=3, size=48)
    made = run_of(data, folder / "run")
    trained(made, "0000", PLAIN, nothing)
    return made.path


def test_the_command_compares_on_the_images_of_the_run(run: Path, tmp_path: Path) -> None:
    trial, out = str(run / "trials" / "0000"), str(tmp_path / "out")
    done = brainseg("export", trial, out, "--to", "torchscript")
    assert (done.status, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if " x 3 x " in line]
    assert [row[0] for row in rows] == ["random"] * 5 + ["real"]
    assert all(row[-2:] == ["0", "pixels"] for row in rows)
    assert done.stdout.splitlines()[-1].startswith(f"{out}: README.md (")

    again = brainseg("export", trial, out, "--to", "torchscript")
    assert again.status == 0, "an earlier export is replaced"
    other = brainseg("export", trial, out, "--to", "onnx")
    assert (other.status, other.stderr) == (
        2,
        f"brainseg: an export must have a folder of its own, {out} holds model.pt; name a new "
        "folder\n",
    )

    bundle = str(tmp_path / "bundle")
    assert brainseg("export", trial, bundle).status == 0
    of_bundle = brainseg("export", bundle, str(tmp_path / "of_bundle"), "--to", "onnx")
    assert of_bundle.status == 0
    assert f"compared on random input alone: {bundle} is no run" in of_bundle.stdout


def test_images_that_are_gone_are_no_reason_to_end(run: Path, tmp_path: Path) -> None:
    data = run.parent / "data"
    data.rename(run.parent / "moved")
    try:
        trial = str(run / "trials" / "0000")
        done = brainseg("export", trial, str(tmp_path / "out"), "--to", "torchscript")
    finally:
        (run.parent / "moved").rename(data)
    assert (done.status, done.stderr) == (0, "")
    assert "compared on random input alone: " in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{t}", "{t}/out"], "a model is a bundle"),
        (["{t}/nothing", "{t}/out", "--to", "onnx"], "a model is a bundle"),
        (["{t}", "{t}"], "OUT must be another folder than MODEL, both are {t}"),
        (["{t}", "{t}/a/b", "--to", "onnx"], "{t}/a does not exist; make that folder first"),
        (["{t}", "{t}/file", "--to", "onnx"], "{t}/file is a file; name a new folder"),
        (["{t}", "{t}/other"], "{t}/other holds notes.txt; name a new folder"),
        (
            ["{t}", "{t}/out", "--to", "tflite"],
            "safetensors, onnx or torchscript, got 'tflite'",
        ),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("")
    done = brainseg("export", *(word.format(t=tmp_path) for word in words))
    assert done.status == 2 and done.stdout == ""
    assert sentence.format(t=tmp_path) in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_no_locked_patient_goes_through_the_network(tmp_path: Path) -> None:
    data = write_phantoms(tmp_path / "data", patients=4, slices=4, size=40)
    run = run_of(data, tmp_path / "run")
    table = read_slices(run.slices)
    model = untrained(PLAIN)
    model.source = run.path
    first, second = table["patient"].unique()[:2]
    table.loc[table["patient"] == first, "part"] = "test"
    table.to_csv(run.slices, index=False)
    rows = table[table["patient"] == second]
    images = [read_image(data, image) for image in rows["image"]]
    expected_BNNC = model.prepare(images).squares_SNNC
    assert (first_patient(model) == expected_BNNC.transpose(0, 3, 1, 2)).all()
    table["part"] = "test"
    table.to_csv(run.slices, index=False)
    with pytest.raises(ValueError, match=r"slices of .* are locked"):
        first_patient(model)
