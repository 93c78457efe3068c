"""The formats of an export, and the files of each. Imports no PyTorch: the command line does."""

from typing import Literal, get_args

GraphFormat = Literal["onnx", "torchscript"]
Format = Literal["safetensors", GraphFormat]
FORMATS: tuple[Format, ...] = get_args(Format)
NAMES: dict[GraphFormat, str] = {"onnx": "ONNX", "torchscript": "TorchScript"}
FILES: dict[GraphFormat, str] = {"onnx": "model.onnx", "torchscript": "model.pt"}
FACTS, README = "export.json", "README.md"


def files_of(to: GraphFormat) -> set[str]:
    """All that an export may leave in its folder; the tensors of a large graph lie in .data."""
    return {FILES[to], f"{FILES[to]}.data", FACTS, README}
