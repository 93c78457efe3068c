"""A graph as an ONNX file, and the file at work in ONNX Runtime."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim

from brainseg.inference.export.graph import Graph
from brainseg.inference.export.parity import Runner
from brainseg.records.files import naming

OPSET = 18  # the first in which a histogram is one operation (ScatterElements that adds)
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def require_packages() -> None:
    """Refuse to export where a package of the extra is missing.

    Raises:
        ValueError: how to install them.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ValueError(
            f"an export to ONNX needs {', '.join(PACKAGES)}, {', '.join(missing)} cannot be "
            "imported; pip install 'brainseg[onnx]'"
        )


def write(graph: Graph, channels: int, facts: Mapping[str, Any], path: Path) -> None:
    """Write the graph; above 2 GB its tensors lie beside it, in a file that ends with .data."""
    sides = {} if graph.only_size else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = torch.onnx.export(
        graph,
        (graph.example(channels),),
        input_names=["image"],
        output_names=["probability"],
        dynamic_shapes={"image": {0: Dim.DYNAMIC, **sides}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program, "it is None only where a file was named"
    words = {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}
    program.model.metadata_props.update(words)
    with naming(path):
        program.save(path)


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
