"""Published weights for encoders, shown and fetched before a sweep: `weights`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import terminal
from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.runs import offline_if
from brainseg.data.address import local_path

if TYPE_CHECKING:
    from brainseg.models.medical_weights import Medical


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Which weights to bring into the cache, and from where."""

    name: str  # of medical weights, or of an encoder
    weights: str  # which of an encoder's
    accept_terms: bool
    file: Path | None  # downloaded by hand
    sha256: str
    offline: bool


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "weights",
        help="list and fetch weights that encoders start from",
        description="List published medical weights, and fetch weights before a sweep, or before "
        "a machine goes offline.",
    )
    actions = parser.add_subparsers(
        dest="what", required=True, metavar="list|fetch", title="commands"
    )
    listing = actions.add_parser(
        "list", help="medical weights, their licences, and which are on this machine"
    )
    listing.set_defaults(work=lambda args: _list())
    _add_fetch(actions)


def _add_fetch(actions: "Commands[Parser]") -> None:
    fetch = actions.add_parser(
        "fetch",
        help="download weights into this machine's cache",
        usage="brainseg weights fetch NAME [options]",
    )
    fetch.add_argument(
        "name",
        metavar="NAME",
        help="medical weights (see `brainseg weights list`), or an encoder, for its own weights",
    )
    fetch.add_argument(
        "--weights",
        default="imagenet",
        metavar="KEY",
        help="which of an encoder's weights, see `brainseg encoders` (default: imagenet)",
    )
    fetch.add_argument(
        "--accept-terms",
        action="store_true",
        help="you have read the terms of these medical weights, and accept them",
    )
    fetch.add_argument(
        "--from",
        type=Path,
        dest="file",
        metavar="FILE",
        help="medical weights that you downloaded by hand",
    )
    fetch.add_argument(
        "--sha256", default="", metavar="HASH", help="refuse a file of any other SHA-256"
    )
    fetch.add_argument(
        "--offline",
        action="store_true",
        help="download nothing, only check that they are on this machine",
    )
    fetch.set_defaults(work=lambda args: _fetch(_options(args)))


def _options(args: argparse.Namespace) -> FetchOptions:
    return FetchOptions(
        name=args.name,
        weights=args.weights,
        accept_terms=args.accept_terms,
        file=local_path(args.file) if args.file else None,
        sha256=args.sha256,
        offline=args.offline,
    )


def _list() -> None:
    from rich.table import Table

    from brainseg.models import medical_weights

    table = Table("weights", "encoder", "licence", "fetched", "here", box=None)
    for model in medical_weights.ALL:
        how = "by download" if model.repository else "by hand"
        here = "yes" if model.path.is_file() else "no"
        table.add_row(medical_weights.PREFIX + model.name, model.encoder, model.licence, how, here)
    terminal(whole_lines=True).print(table)


def _fetch(options: FetchOptions) -> None:
    with offline_if(options.offline):
        _fetch_named(options)


def _fetch_named(options: FetchOptions) -> None:
    from brainseg.models import medical_weights
    from brainseg.models.encoders import require_known
    from brainseg.models.weights import require_weights

    if options.name.startswith(medical_weights.PREFIX) or options.name in (
        m.name for m in medical_weights.ALL
    ):
        print(_fetch_medical(medical_weights.named(options.name), options))
        return
    require_known(options.name)
    if options.file:
        raise ValueError(
            f"--from is for medical weights, {options.name!r} is an encoder; leave it out, and "
            f"give the file to a sweep: --weights {options.file}"
        )
    require_weights(options.name, options.weights)
    print(f"{options.weights} weights of {options.name} are in the hub's cache")


def _fetch_medical(model: "Medical", options: FetchOptions) -> Path:
    """The file in the cache, after its terms were shown and accepted."""
    from brainseg.models import encoders, medical_weights, weights

    if options.offline or (model.path.is_file() and not options.file):
        return medical_weights.cached(model)
    for label in ("images", "page", "licence", "terms", "cite"):
        print(f"{label:8} {getattr(model, label)}")
    if not options.accept_terms:
        raise ValueError(
            f"the terms of {medical_weights.PREFIX}{model.name} must be accepted by whoever "
            "uses it; read them above, then run the same command with --accept-terms"
        )

    def require_fit(path: Path) -> None:
        encoder = encoders.build_encoder(model.encoder)
        weights.load_medical(encoder, model, path, name=model.encoder)

    if options.file:
        return medical_weights.adopt(model, options.file, require_fit, sha256=options.sha256)
    return medical_weights.fetch(model, require_fit, sha256=options.sha256)
