"""Hand a model to other programs: `export`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import terminal
from brainseg.cli.options.parser import Commands, Parser, one_of
from brainseg.data.address import local_path
from brainseg.inference.export.formats import FORMATS, Format
from brainseg.process import plain

if TYPE_CHECKING:
    from brainseg.inference.export.parity import Difference, Levels
    from brainseg.inference.model import Model


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Which model goes where, and in which format."""

    model: Path
    out: Path
    to: Format


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "export",
        help="a model as ONNX, TorchScript or safetensors",
        usage="brainseg export MODEL OUT [--to FORMAT]",
        description="Write a model into a folder of its own. As `onnx` or `torchscript` it is one "
        "graph, from grey levels (uint8) to the probability of tumour, that other programs run "
        "without brainseg; it is compared with PyTorch, and a file that differs by more than "
        "rounding is not written. As `safetensors` it is a bundle, which brainseg reads.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a bundle, a trial's folder or a run"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="a new folder; an earlier export in it is replaced"
    )
    parser.add_argument(
        "--to",
        type=one_of(*FORMATS),
        default=FORMATS[0],
        metavar="FORMAT",
        help="safetensors (default), onnx (needs pip install 'brainseg[onnx]') or torchscript",
    )
    parser.set_defaults(work=lambda args: _export(_options(args)))


def _options(args: argparse.Namespace) -> ExportOptions:
    return ExportOptions(model=local_path(args.model), out=local_path(args.out), to=args.to)


def _export(options: ExportOptions) -> None:
    from brainseg.inference.export.write import export, require_exportable
    from brainseg.inference.sources import open_model

    if options.out.resolve() == options.model.resolve():
        raise ValueError(f"OUT must be another folder than MODEL, both are {options.out}")
    require_exportable(options.out, options.to)
    model = open_model(options.model)
    if options.to == "safetensors":
        export(model, options.out, options.to)
    else:
        print(f"exporting to {options.to}; a large encoder takes minutes", flush=True)
        _print(export(model, options.out, options.to, _real(model)))
    files = sorted(options.out.iterdir())
    sizes = [f"{file.name} ({file.stat().st_size / 1e6:.2f} MB)" for file in files]
    print(f"{plain(str(options.out))}: {', '.join(sizes)}")


def _real(model: "Model") -> "Levels | None":
    """Images of the model's run; None, which is said, where they are not at hand."""
    from brainseg.inference.export.real import first_patient

    try:
        return first_patient(model)
    except (ValueError, OSError) as error:
        print(f"compared on random input alone: {plain(str(error))}")
        return None


def _print(compared: "list[Difference]") -> None:
    from rich.table import Table

    table = Table("input", "shape", "greatest", "mean", "mask differs", box=None)
    table.title, table.title_justify = "difference of probability to PyTorch", "left"
    for difference in compared:
        shape = " x ".join(map(str, difference.shape))
        table.add_row(
            difference.input,
            shape,
            f"{difference.greatest:.1e}",
            f"{difference.mean:.1e}",
            f"{difference.changed} pixels",
        )
    terminal(whole_lines=True).print(table)
