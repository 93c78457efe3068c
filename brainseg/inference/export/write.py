"""A model in a format of other programs, in a folder of its own: all of its files, or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from brainseg.config.hyperparameters import Encoder
from brainseg.inference import bundle
from brainseg.inference.export import onnx, torchscript
from brainseg.inference.export.facts import facts_of, readme
from brainseg.inference.export.formats import (
    FACTS,
    FILES,
    NAMES,
    README,
    Format,
    GraphFormat,
    files_of,
)
from brainseg.inference.export.graph import graph_of
from brainseg.inference.export.parity import (
    TOLERANCE,
    Difference,
    Levels,
    differences,
    random_inputs,
)
from brainseg.inference.model import Model
from brainseg.records.files import write_json, write_text

WRITERS: dict[GraphFormat, ModuleType] = {"onnx": onnx, "torchscript": torchscript}


def require_exportable(folder: Path, to: Format) -> None:
    """Refuse what cannot end well, before a model is opened.

    Raises:
        ValueError: packages are missing, or the folder is of something else.
    """
    if to == "onnx":
        onnx.require_packages()
    if to == "safetensors":
        bundle.require_own_folder(folder, bundle.FILES, "a bundle")
    else:
        bundle.require_own_folder(folder, files_of(to), "an export")


def export(model: Model, folder: Path, to: Format, real: Levels | None = None) -> list[Difference]:
    """Write the model into ``folder``, which is made; an earlier export in it is replaced.

    Args:
        real: slices of a patient (B, C, N, N) for the comparison; no name goes into the files.

    Returns:
        How far a graph is from PyTorch, input by input; none for safetensors, which holds the
        tensors themselves.

    Raises:
        ValueError: the network cannot be exported to this format, or the file differs from it by
            more than rounding; then nothing is written.
    """
    if to == "safetensors":
        bundle.write_bundle(folder, model)
        return []
    require_exportable(folder, to)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        draft = Path(name)
        compared = _write(model, draft, to, real)
        folder.mkdir(exist_ok=True)
        for old in files_of(to):
            (folder / old).unlink(missing_ok=True)
        for file in draft.iterdir():
            file.replace(folder / file.name)
    return compared


def _write(model: Model, draft: Path, to: GraphFormat, real: Levels | None) -> list[Difference]:
    graph, writer, path = graph_of(model), WRITERS[to], draft / FILES[to]
    facts = facts_of(model, graph, to)
    inputs = random_inputs(
        model.channels, model.image_size, graph.stride, any_size=graph.only_size is None
    )
    with _refusing(model, to):
        writer.write(graph, model.channels, facts, path)
        shown = chain(inputs, [] if real is None else [("real", real)])
        compared = differences(model, writer.opened(path), shown, stride=graph.stride)
    _require_rounding(compared, model, to)
    write_text(draft / README, readme(model, graph, to, compared))
    rows = [difference.to_json() for difference in compared]
    write_json(draft / FACTS, facts | {"compared_with_pytorch": rows})
    return compared


@contextmanager
def _refusing(model: Model, to: GraphFormat) -> Iterator[None]:
    """Turn an exporter's error into one sentence that names the network."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each family of networks fails in its own way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = ": ".join([type(error).__name__, *lines[:1]])
        raise ValueError(
            f"{_network(model)} cannot be exported to {NAMES[to]} ({why}); {_other(to)}"
        ) from None


def _require_rounding(compared: list[Difference], model: Model, to: GraphFormat) -> None:
    for difference in compared:
        if not difference.is_rounding:
            shape = " x ".join(map(str, difference.shape))
            raise ValueError(
                f"an export may differ from PyTorch by rounding, {TOLERANCE:g} of a probability, "
                f"{NAMES[to]} of {_network(model)} differs by {difference.greatest:.2g} on "
                f"{difference.input} input of {shape}; nothing was written, {_other(to)}"
            )


def _network(model: Model) -> str:
    config = model.description.trial_config.model
    return (
        f"{config.name!r} under {config.decoder!r}"
        if isinstance(config, Encoder)
        else "a plain U-Net"
    )


def _other(to: GraphFormat) -> str:
    other = "onnx" if to == "torchscript" else "torchscript"
    return f"try --to {other}, or --to safetensors, which takes every network"
