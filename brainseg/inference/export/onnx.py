"""A graph as an ONNX file, and the file at work in ONNX Runtime."""

import json
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg.inference.export.graph import Graph
from brainseg.inference.export.parity import Runner
from brainseg.records.files import naming

OPSET = 18  # the first in which a histogram is one operation (ScatterElements that adds)
PACKAGES = ("onnx", "onnxruntime")
ONE_FILE_BYTES = 1_900_000_000  # protobuf's limit is 2 GB: above, tensors lie in a second file


def require_packages() -> None:
    """Refuse to export where a package of the extra is missing.

    Raises:
        ValueError: how to install them.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ValueError(
            f"an export to ONNX needs {' and '.join(PACKAGES)}, {' and '.join(missing)} cannot be "
            "imported; pip install 'brainseg[onnx]'"
        )


def write(graph: Graph, channels: int, facts: Mapping[str, Any], path: Path) -> None:
    """Write the graph with the facts as its metadata; large tensors lie beside it in .data.

    It is traced, as for TorchScript. PyTorch's newer exporter (dynamo=True) follows the code with
    symbolic sizes: densenet121 took it 55 CPU-seconds in place of 6, for the same probabilities.
    """
    import onnx

    words = {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}
    is_large = sum(tensor.nbytes for tensor in graph.state_dict().values()) > ONE_FILE_BYTES
    with TemporaryDirectory(dir=path.parent) as scratch, naming(path):
        _trace(graph, channels, Path(scratch, path.name))
        proto = onnx.load(Path(scratch, path.name))
        onnx.helper.set_model_props(proto, words)
        onnx.save_model(proto, path, save_as_external_data=is_large, location=f"{path.name}.data")


def _trace(graph: Graph, channels: int, path: Path) -> None:
    """Write the graph as PyTorch does it: above 2 GB with a file for every tensor."""
    sides = {} if graph.only_size else {2: "height", 3: "width"}
    answered = {axis - 1: name for axis, name in sides.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older exporter, and of sizes in `if`
        torch.onnx.export(
            graph,
            (graph.example(channels),),
            path,
            input_names=["image"],
            output_names=["probability"],
            dynamic_axes={
                "image": {0: "slices", **sides},
                "probability": {0: "slices", **answered},
            },
            opset_version=OPSET,
            dynamo=False,
        )


def opened(path: Path) -> Runner:
    """The file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image_BCHW: NDArray[np.uint8]) -> NDArray[np.float32]:
        (probability_BHW,) = session.run(["probability"], {"image": image_BCHW})
        return np.asarray(probability_BHW, np.float32)

    return run
