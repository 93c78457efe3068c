"""Turn images into masks: `predict`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import ProgressBar, errors, terminal
from brainseg.cli.options.parser import Commands, Parser, label, number, one_of
from brainseg.cli.runs import NOT_ALL
from brainseg.data.address import is_address, local_path
from brainseg.process import plain, terminable

if TYPE_CHECKING:
    import argparse

    from brainseg.data.formats.for_model import Images
    from brainseg.inference.model import Model
    from brainseg.inference.predict.work import Done, Work

EACH = 40  # cases that have a line each where there is no terminal; of more one in so many
NAMED = 5  # failures that the last line names

EPILOG = """\
examples:
  brainseg predict my-model scans masks
  brainseg predict my-model scans masks --flip --overlay
  brainseg predict runs/encoders scan.nii.gz masks
  brainseg predict my-model flair.nii.gz t1.nii.gz masks     two channels of one
exit status: 0 all done; 1 some files could not be predicted or scored, and
are named; 2 bad input; 4 the machine's fault, the same command resumes
Not a medical device.
"""


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "predict",
        help="turn images into masks",
        usage="brainseg predict MODEL IN OUT [options]",
        description="Write the mask of each image, in its format and size. Where true masks lie "
        "beside the images, also score them. The same command resumes.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="a bundle, a trial's folder or a run")
    add(
        "images",
        metavar="IN",
        nargs="+",
        help="a folder in any layout, with masks or without; PNG, TIFF, JPEG or NIfTI files; or a "
        "CSV with a column image",
    )
    add("out", type=Path, metavar="OUT", help="folder to write into; it is made")
    _add_options(parser)
    parser.set_defaults(work=_predict)


def _add_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--threshold", type=number, metavar="P", help="a pixel is tumour above it (default: model)")
    add("--flip", action="store_true", help="average over each image and its mirror image")
    add(
        "--largest-component",
        action="store_true",
        help="keep only the largest connected part, through all slices of a case",
    )
    add("--overlay", action="store_true", help="also write PNGs with the outline (truth in cyan)")
    add(
        "--probabilities",
        action="store_true",
        help="also write probabilities: floats for volumes, 16 bits for pictures (65535 is 1)",
    )
    add("--arm", metavar="NAME", help="of a run: another configuration than its winner")
    add(
        "--precision",
        type=one_of("auto", "float32", "bfloat16"),
        default="auto",
        help="auto, float32 or bfloat16 (default: auto, bfloat16 where it is clearly faster)",
    )
    add(
        "--layout",
        default="auto",
        type=one_of("auto", "lgg", "pairs", "manifest", "nnunet", "nifti", "files"),
        help="lgg, pairs, manifest, nnunet, nifti or files (default: detected)",
    )
    add(
        "--label",
        type=label,
        metavar="whole|1|1+4|...",
        help="what counts as tumour in true masks of several labels (default: the model's)",
    )
    add("--overwrite", action="store_true", help="replace predictions of other options in OUT")


@terminable()
def _predict(args: "argparse.Namespace") -> None:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged file is reported once, by us
    paths, out = [_input(path) for path in args.images], local_path(args.out)
    _require_apart(paths, out)
    from brainseg.data.formats.for_model import find_images
    from brainseg.inference.predict import record
    from brainseg.inference.predict.options import Options
    from brainseg.inference.predict.precision import set_precision
    from brainseg.inference.predict.work import Work
    from brainseg.inference.sources import open_model

    model = open_model(args.model, args.arm)
    described = model.description
    images = find_images(
        paths,
        model.channels,
        described.channels,
        layout=args.layout,
        label=args.label or described.label,
    )
    threshold = model.threshold if args.threshold is None else args.threshold
    options = Options(
        threshold=threshold,
        flip=args.flip,
        largest_component=args.largest_component,
        overlay=args.overlay,
        probabilities=args.probabilities,
    )
    with record.alone_in(out):
        asked = record.earlier_precision(out) if args.precision == "auto" else args.precision
        options = options.computing_in(set_precision(model, asked))
        work = Work(model, images, out, options, args.command)
        work.record.begin(work.by_case, overwrite=args.overwrite)
        _say_what_is_there(work)
        _show(work.run(), len(work.cases))
    _say_what_was_done(work)


def _input(path: str) -> Path:
    """An input on this machine, copied here first if it lies in a store."""
    if not is_address(path):
        return local_path(path)
    from brainseg.data.remote import local_copy
    from brainseg.records.cache import default_cache

    return local_copy(path, default_cache())


def _require_apart(paths: list[Path], out: Path) -> None:
    """Refuse to write masks among images: they would be an input the next time."""
    for path in paths:
        folder = path.resolve()
        inside = out.resolve() == folder or out.resolve().is_relative_to(folder)
        if inside and not path.is_file():
            raise ValueError(f"OUT must not lie in IN, {out} lies in {path}; name another folder")


def _say_what_is_there(work: "Work") -> None:
    images, described, options = work.images, work.model.description, work.options
    masks = sum(int((rows["mask"] != "").sum()) for rows in work.by_case.values())
    with_masks = f"{masks:,} with a true mask" if masks else "no true masks"
    how = [f"threshold {options.threshold:g}", options.precision]
    how += [word for word, on in (("flip", options.flip),) if on]
    how += [word for word, on in (("largest component", options.largest_component),) if on]
    what = (
        f"{len(work.cases):,} cases, {len(images.table):,} slices ({with_masks}), layout "
        f"{images.layout}; model {described.name} ({described.kind}), {', '.join(how)}"
    )
    print(plain(what))
    _say_channels(images, work.model)
    if work.locked:
        print(
            plain(
                f"not scored, for they are locked patients: {_some(work.locked)}; brainseg "
                f"evaluate {work.model.source} scores them, once"
            )
        )
    if images.unused:
        print(plain(f"not used: {images.unused}"))


def _say_channels(images: "Images", model: "Model") -> None:
    trained = model.description.channels
    held = [name.casefold() for name in images.channels]
    if held and trained and held != [name.casefold() for name in trained]:
        print(
            plain(
                f"channels are called {', '.join(images.channels)}, those of the model "
                f"{', '.join(trained)}; they are taken in this order"
            )
        )


def _show(done: Iterator["Done"], total: int) -> None:
    """A bar on a terminal; elsewhere a line for some of the cases, and for each problem."""
    on_terminal, problems = errors().is_terminal, []
    for count, case in enumerate(ProgressBar("predicting")(done, total), start=1):
        some = total <= EACH or count % (total // EACH) == 0 or count == total
        if case.problem:
            problems.append(f"{case.case}: {case.problem}")
        if not on_terminal:  # where a bar is shown, problems follow it
            _complain(*problems)
            problems.clear()
        if some and not on_terminal:
            print(plain(f"{count}/{total} {_in_words(case)}"), flush=True)
    _complain(*problems)


def _complain(*problems: str) -> None:
    for problem in problems:
        errors().print(plain(problem), highlight=False, markup=False, soft_wrap=True)


def _in_words(done: "Done") -> str:
    if not done.rows:
        return f"{done.case}: not predicted"
    pixels = sum(row.tumour_pixels for row in done.rows)
    volumes = [row.ml for row in done.rows if row.ml is not None]
    ml = f" ({sum(volumes):.1f} ml)" if len(volumes) == len(done.rows) else ""
    slices = sum(row.slices for row in done.rows)
    there = ", already there" if done.kept else ""
    return f"{done.case}: {slices} slice{'s' * (slices != 1)}, {pixels:,} tumour pixels{ml}{there}"


def _say_what_was_done(work: "Work") -> None:
    """Status 1 if anything is missing."""
    _print_scores(work)
    rows, problems = work.rows, [str(problem) for problem in work.images.problems]
    for problem in problems:
        _complain(problem)
    if work.gone:
        print(plain(f"removed what was written of images that are gone: {_some(work.gone)}"))
    lost = [done for done in work.done if not done.rows]
    unscored = len(work.failed) - len(lost)
    print(
        f"tumour: {sum(row.tumour_pixels for row in rows):,} pixels at threshold "
        f"{work.options.threshold:g}, {sum(row.tumour_pixels_at_half for row in rows):,} at 0.5"
    )
    kept = sum(done.kept for done in work.done)
    parts = [f"{len(work.cases) - len(lost)} of {len(work.cases)} cases done"]
    parts += [f"{kept} of them were there already"] if kept else []
    failed = [done.case for done in lost] + [problem.file for problem in work.images.problems]
    parts += [f"{len(failed)} failed: {_some(failed)}"] if failed else []
    parts += [f"{unscored} could not be scored"] if unscored else []
    print(plain(f"{', '.join(parts)}; {work.out}"))
    if failed or unscored:
        raise SystemExit(NOT_ALL)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _print_scores(work: "Work") -> None:
    scores = work.scores()
    if scores.empty:
        return
    from rich.table import Table

    table = Table(title="Scores of the masks that were written")
    for name in ("patient", "tp", "fp", "fn", "Dice", "IoU", "Dice at 0.5"):
        table.add_column(name, justify="left" if name == "patient" else "right")
    if trained := [case for case in scores["patient"] if case in work.known.trained]:
        print(
            plain(
                f"no test: the model was trained on, or chosen by, {_some(trained)}, which are "
                "scored below"
            )
        )
    for row in scores.to_dict("records"):
        numbers = (f"{row[name]:.3f}" for name in ("dice", "iou", "dice_at_half"))
        counts = (f"{row[name]:,}" for name in ("tp", "fp", "fn"))
        table.add_row(plain(str(row["patient"])), *counts, *numbers)
    means = (scores[name].mean() for name in ("dice", "iou", "dice_at_half"))
    table.add_row("mean", "", "", "", *(f"{value:.3f}" for value in means), style="bold")
    terminal(whole_lines=True).print(table)
