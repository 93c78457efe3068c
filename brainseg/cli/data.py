"""Verbs about data: `check`, `split` and `phantom`."""

import argparse
import os
from functools import partial
from pathlib import Path

from brainseg.cli.options import add_split_options
from brainseg.cli.sweep_args import asked_split
from brainseg.config.sweep import Split
from brainseg.data.address import is_address


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    phantom = verbs.add_parser("phantom", help="write made-up patients into a folder")
    phantom.add_argument("folder", type=Path)
    phantom.add_argument("--patients", type=int, default=24, help="default: 24")
    phantom.add_argument("--slices", type=int, default=16, help="of each patient; default: 16")
    phantom.add_argument("--size", type=int, default=128, help="pixels a side; default: 128")
    phantom.add_argument("--seed", type=int, default=0, help="default: 0")
    phantom.set_defaults(work=_phantom)
    check = verbs.add_parser("check", help="list all that is wrong with a data set")
    _add_check_options(check)
    check.set_defaults(work=_check)
    split = verbs.add_parser("split", help="show who would be held out, and write it")
    _add_split_options(split)
    split.set_defaults(work=_split)


def _phantom(args: argparse.Namespace) -> None:
    from brainseg.data.phantom import write_phantoms

    root = write_phantoms(
        args.folder, patients=args.patients, slices=args.slices, size=args.size, seed=args.seed
    )
    print(f"{args.patients} made-up patients in {root}")


def _check(args: argparse.Namespace) -> None:
    """Status 1 if anything is wrong."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged file is told once, by us
    from rich.console import Console
    from rich.progress import track

    from brainseg.data.quality.check import check
    from brainseg.report import data_terminal

    picture = args.html or args.png
    if picture and not picture.expanduser().parent.is_dir():
        raise ValueError(f"a picture must go into a folder that is there, got {picture}; make it")
    errors = Console(stderr=True)
    bar = partial(
        track, description="reading", console=errors, transient=True, disable=not errors.is_terminal
    )
    found = check(_folder(args.data), args.layout, lambda looks, n: bar(looks, total=n))
    data_terminal.print_findings(found, Console())
    if picture:
        from brainseg.report import data_page

        write = data_page.write_page if args.html else data_page.write_picture
        try:
            write(found, picture.expanduser())
        except OSError as error:
            why = error.strerror
            raise ValueError(f"{picture} cannot be written ({why}); name another file") from None
        print(picture)
    if found.problems:
        raise SystemExit(1)


def _folder(data: str) -> Path:
    """The data on this node, copied here first if they lie in a store."""
    if not is_address(data):
        return Path(data).expanduser()
    from brainseg.data.remote import local_copy
    from brainseg.records.cache import default_cache

    return local_copy(data, default_cache())


def _split(args: argparse.Namespace) -> None:
    from rich.console import Console

    from brainseg.data import dataset, partition
    from brainseg.data.splits.draw import split_table
    from brainseg.report import split_terminal

    split = asked_split(args)
    data = dataset.read_data(args.data, args.layout, print)
    groups = partition.linked_patients(data, print)
    parts = split_table(data.table, split, groups)
    if split.folds:
        parts = split_terminal.in_folds(data.table, parts, split.folds, split.seed, groups)
    split_terminal.print_parts(data.table, parts, Console())
    if args.out:
        for path in split_terminal.write_parts(data.table, parts, args.out.expanduser()):
            print(path)


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="folder of images and masks, or s3://bucket/folder")
    parser.add_argument(
        "--layout",
        default="auto",
        help="lgg, pairs, manifest, nnunet or nifti; default: found by looking",
    )
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--html", type=Path, help="write all of it, with pictures, to this page")
    picture.add_argument("--png", type=Path, help="write the pictures alone to this file")


def _add_split_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="folder of images and masks, or an address as s3://...")
    parser.add_argument("--layout", default="auto", help="default: found by looking")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write it, for --split")
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cut all but the test patients into K folds; FILE-0.csv validates with fold 0",
    )
    add_split_options(parser, Split())
