"""Encoders to choose from: `encoders`."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import ProgressBar, require_folder, terminal, writing
from brainseg.cli.options.parser import Commands, Parser

if TYPE_CHECKING:
    from rich.console import Console

    from brainseg.models.catalogue import EncoderFacts

MEASURED = 20  # of timm's at once: building all 1300 takes half an hour
COUNTED = """\
Stride: image pixels per pixel of the deepest feature map. GFLOPs: of the encoder alone, on 256 x
256 pixels; a multiply-add counts as two. Frozen: millions of parameters that are frozen with the
first 1, 2, ... blocks. Weights: licence in brackets; unknown where none is published."""


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "encoders",
        help="list encoders: parameters, GFLOPs, weights, blocks",
        description="List encoders with what they cost. The name of a single one shows what each "
        "of its blocks holds, and the decoders that take it.",
    )
    parser.add_argument(
        "filter",
        nargs="?",
        default="",
        metavar="FILTER",
        help="a name, a part of one, or a glob: 'mit_*'; 'tu-*' lists those of timm (default: all "
        "but timm's)",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the list to this file")
    parser.set_defaults(work=lambda args: _encoders(args.filter, args.csv))


def _encoders(pattern: str, csv_file: Path | None) -> None:
    from brainseg.models import encoders

    csv_file = require_folder("--csv", csv_file)
    names = encoders.matching(pattern)
    facts = _facts(names)
    console = terminal(whole_lines=True)
    if names == [pattern]:
        _print_one(names[0], facts, console)
    else:
        _print_table(names, facts, console)
    if csv_file:
        with writing(csv_file):
            _write_csv(names, facts, csv_file)
        print(csv_file)


def _facts(names: Sequence[str]) -> "dict[str, EncoderFacts | str]":
    """Facts of each encoder, or why it has none; of none at all where too many would be built."""
    from brainseg.models import catalogue, encoders

    if len(names) > MEASURED and names[0].startswith(encoders.TIMM):
        return {}
    return catalogue.look_up(names, ProgressBar("measuring"))


def _print_table(
    names: Sequence[str], facts: "Mapping[str, EncoderFacts | str]", console: "Console"
) -> None:
    from rich.text import Text

    from brainseg.report.columns import plain_table

    figures = ("Parameters, M", "Stride", "GFLOPs", "Frozen, M") if facts else ()
    columns = ("Encoder", *figures, "Weights")
    table = plain_table(columns, left=("Encoder", "Frozen, M", "Weights"))
    for name in names:
        cells = _figures(facts[name]) if facts else ()
        table.add_row(*map(Text, (name, *cells, _weights(name))))
    console.print(table)
    console.print(Text(COUNTED, style="dim"))
    refused = [fact for fact in facts.values() if isinstance(fact, str)]
    for reason in refused:
        console.print(Text(reason, style="red"))
    if not facts:
        console.print(
            f"{len(names):,} encoders, too many of timm's to measure at once; a FILTER that "
            f"matches at most {MEASURED} shows figures, and which of them cannot be encoders."
        )


def _print_one(name: str, facts: "Mapping[str, EncoderFacts | str]", console: "Console") -> None:
    """All about one encoder: what each block holds, and which decoders take it."""
    from rich.text import Text

    from brainseg.models.network import compatible_decoders
    from brainseg.report.columns import plain_table

    fact = facts[name]
    if isinstance(fact, str):
        raise ValueError(fact)
    figures = (
        f"{name}: {fact.parameters:,} parameters, stride {fact.stride}, "
        f"{fact.gflops:.2f} GFLOPs at 256 x 256 (a multiply-add counts as two)"
    )
    console.print(Text(figures, style="bold"))
    console.print(Text(f"weights: {_weights(name)}"))
    console.print(Text(f"decoders: {', '.join(compatible_decoders(name))}"))
    columns = ("Frozen blocks", "Adds parameters", "Frozen parameters", "Adds modules")
    table = plain_table(columns, left=("Adds modules",))
    for k, (block, total) in enumerate(zip(fact.blocks, fact.frozen, strict=True), start=1):
        counts = (str(k), f"{block.parameters:,}", f"{total:,}")
        table.add_row(*counts, Text(in_runs(block.modules)))
    console.print(table)
    if fact.idle:
        console.print(f"{fact.idle:,} parameters influence no feature map and are never trained.")


def in_runs(modules: Sequence[str]) -> str:
    """`blocks.0 to blocks.3, norm`: neighbours that differ in their number alone, together."""
    parts = []
    for _, group in groupby(modules, key=lambda name: name.rstrip("0123456789")):
        first, *others = group
        parts.append(f"{first} to {others[-1]}" if others else first)
    return ", ".join(parts)


def _figures(fact: "EncoderFacts | str") -> tuple[str, str, str, str]:
    if isinstance(fact, str):
        return "", "", "", "see below"
    frozen = " / ".join(f"{count / 1e6:.2f}" for count in fact.frozen)
    return f"{fact.parameters / 1e6:.2f}", str(fact.stride), f"{fact.gflops:.2f}", frozen


def _weights(name: str) -> str:
    """`imagenet (BSD-3-Clause); ssl, swsl (CC-BY-NC-4.0)`."""
    from brainseg.models.encoders import published_weights

    by_licence: dict[str, list[str]] = {}
    for weights, licence in published_weights(name).items():
        by_licence.setdefault(licence, []).append(weights)
    return "; ".join(f"{', '.join(keys)} ({licence})" for licence, keys in by_licence.items())


def _write_csv(names: Sequence[str], facts: "Mapping[str, EncoderFacts | str]", path: Path) -> None:
    from brainseg.records.files import write_text

    rows = [_row(name, facts.get(name, "not measured")) for name in names]
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _row(name: str, fact: "EncoderFacts | str") -> dict[str, object]:
    row: dict[str, object] = {"encoder": name, "weights": _weights(name)}
    if isinstance(fact, str):
        return row | {"note": fact}
    frozen = {f"frozen_{k}": count for k, count in enumerate(fact.frozen, start=1)}
    counted = {"parameters": fact.parameters, "stride": fact.stride, "gflops_256": fact.gflops}
    return row | counted | frozen
