"""A graph as a TorchScript program, which PyTorch runs without brainseg, in C++ as well."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg.inference.export.formats import FACTS
from brainseg.inference.export.graph import Graph
from brainseg.inference.export.parity import Runner
from brainseg.records.files import replacing


def write(graph: Graph, channels: int, facts: Mapping[str, Any], path: Path) -> None:
    """Write the program, with the facts as an extra file.

    It is traced: branches that depend on the size of the example would be frozen in it, which the
    comparison with PyTorch at other sizes finds.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated, and of sizes in `if`
        program = torch.jit.trace(graph, graph.example(channels), check_trace=False)
        with replacing(path) as file:
            torch.jit.save(program, file, _extra_files={FACTS: json.dumps(facts)})


def opened(path: Path) -> Runner:
    """The program as PyTorch loads it from the file, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated
        program = torch.jit.load(path, map_location="cpu")

    @torch.inference_mode()
    def run(image_BCHW: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(program(torch.from_numpy(image_BCHW)).numpy(), np.float32)

    return run
