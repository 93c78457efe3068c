"""Commands about data: `check`, `split` and `phantom`."""

import os
from dataclasses import dataclass
from pathlib import Path

from brainseg.cli.console import ProgressBar, require_folder, terminal, writing
from brainseg.cli.options.parser import Commands, Parser, whole_number
from brainseg.cli.options.shared import (
    DATA,
    add_layout_options,
    add_split_options,
    split_from_args,
)
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.sweep import Split
from brainseg.data.address import is_address, local_path


@dataclass(frozen=True, kw_only=True)
class Phantoms:
    """How many patients to make up, and how large."""

    patients: int
    slices: int
    size: int
    seed: int


def add_command(commands: "Commands[Parser]") -> None:
    _add_check(commands)
    _add_split(commands)
    _add_phantom(commands)


def _add_check(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "check",
        help="list everything that is wrong with a data set",
        description="Read every image and mask; describe the data set, and list every problem with "
        "its remedy.",
        epilog="Exit status: 0 no problem, 1 a problem, 2 bad input.",
    )
    parser.add_argument("data", metavar="DATA", help=DATA)
    add_layout_options(parser)
    usual = TrialConfig().image_size
    parser.add_argument(
        "--image-size",
        type=whole_number,
        metavar="PIXELS",
        default=usual,
        help="say which tumours vanish when a sweep trains on so many pixels a side (default: "
        f"{usual})",
    )
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page with everything, and pictures"
    )
    picture.add_argument("--png", type=Path, metavar="FILE", help="also write the pictures alone")
    parser.set_defaults(
        work=lambda args: _check(
            args.data,
            args.layout,
            args.label or "",
            args.image_size,
            html=args.html,
            png=args.png,
        )
    )


def _add_split(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "split",
        help="show a split, or K folds, and save it",
        usage="brainseg split DATA [options]",
        description="Show who trains, validates and is locked away, before anything is trained, "
        "and save it as a file that --split of a sweep reads.",
    )
    parser.add_argument("data", metavar="DATA", help=DATA)
    add_layout_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="save the split to this file")
    parser.add_argument(
        "--folds",
        type=whole_number,
        metavar="K",
        default=0,
        help="K folds of all but the locked patients; saved as a file each: FILE-0.csv validates "
        "with fold 0 (default: no folds)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        metavar="N",
        help="show the folds that a confirmation, or another fixed list of configurations, has "
        "under its seed N (default: those of a search, which are the same for all seeds)",
    )
    add_split_options(parser, Split())
    parser.set_defaults(
        work=lambda args: _split(
            args.data, args.layout, args.label or "", split_from_args(args), args.seed, args.out
        )
    )


def _add_phantom(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "phantom",
        help="write made-up patients into a folder",
        usage="brainseg phantom FOLDER [options]",
        description="Write made-up patients in the layout of the LGG data set, to try things out.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write into")
    for option, default, metavar, what in (
        ("--patients", 24, "N", "patients"),
        ("--slices", 16, "N", "slices of each patient"),
        ("--size", 128, "PIXELS", "pixels a side"),
        ("--seed", 0, "N", "another seed makes up other patients"),
    ):
        parser.add_argument(
            option,
            type=whole_number,
            default=default,
            metavar=metavar,
            help=f"{what} (default: {default})",
        )
    parser.set_defaults(
        work=lambda args: _phantom(
            args.folder,
            Phantoms(patients=args.patients, slices=args.slices, size=args.size, seed=args.seed),
        )
    )


def _phantom(folder: Path, made_up: Phantoms) -> None:
    from brainseg.data.phantom import write_phantoms

    with writing(folder):
        root = write_phantoms(
            local_path(folder),
            patients=made_up.patients,
            slices=made_up.slices,
            size=made_up.size,
            seed=made_up.seed,
        )
    print(f"{made_up.patients} made-up patients in {root}")


def _check(
    data: str, layout: str, label: str, image_size: int, *, html: Path | None, png: Path | None
) -> None:
    """Status 1 if anything is wrong."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged file is reported once, by us
    from brainseg.data.quality.check import check
    from brainseg.report import data_terminal

    page, picture = require_folder("--html", html), require_folder("--png", png)
    findings = check(
        _folder(data), layout, ProgressBar("reading"), label=label, image_size=image_size
    )
    data_terminal.print_findings(findings, terminal())
    if file := page or picture:
        from brainseg.report import data_page

        write = data_page.write_page if page else data_page.write_picture
        with writing(file):
            write(findings, file)
        print(file)
    if findings.problems:
        raise SystemExit(1)


def _folder(data: str) -> Path:
    """The data on this machine, copied here first if they lie in a store."""
    if not is_address(data):
        return local_path(data)
    from brainseg.data.remote import local_copy
    from brainseg.records.cache import default_cache

    return local_copy(data, default_cache())


def _split(
    root: str, layout: str, label: str, split: Split, seed: int | None, out: Path | None
) -> None:
    if seed is not None and not split.folds:
        raise ValueError("--seed chooses among folds, there are none; add --folds, or leave it out")
    out = require_folder("--out", out)
    if out and out.suffix.lower() != ".csv":
        raise ValueError(f"--out must name a file that ends in .csv, as --split reads, got {out}")
    from brainseg.data import dataset, partition
    from brainseg.data.splits.draw import split_table
    from brainseg.report import split_terminal

    data = dataset.read_data(root, layout, print, label)
    groups = partition.linked_patients(data, print)
    parts = split_table(data.table, split, groups)
    if split.folds:
        drawn_from = split.seed if seed is None else (split.seed, seed)
        parts = split_terminal.fold_names(data.table, parts, split.folds, drawn_from, groups)
    split_terminal.print_parts(data.table, parts, terminal())
    if out:
        with writing(out):
            for path in split_terminal.write_parts(data.table, parts, out):
                print(path)
