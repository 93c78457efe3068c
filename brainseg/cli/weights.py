"""Published weights for encoders, shown and fetched before a sweep: `weights`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.sweep import heeding_offline

if TYPE_CHECKING:
    from brainseg.models.medical_weights import Medical


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    weights = verbs.add_parser("weights", help="show and fetch weights that encoders start from")
    what = weights.add_subparsers(dest="what", required=True, metavar="list|fetch")
    shown = what.add_parser("list", help="medical weights, their licences, and which are here")
    shown.set_defaults(work=lambda args: _list())
    fetch = what.add_parser("fetch", help="bring weights into this machine's cache")
    fetch.add_argument(
        "name", help="medical weights of the list, or an encoder, for its ImageNet weights"
    )
    fetch.add_argument(
        "--weights",
        default="imagenet",
        help="which of an encoder's, see `brainseg encoders`; default: imagenet",
    )
    fetch.add_argument(
        "--accept-terms", action="store_true", help="you have read the medical weights' terms"
    )
    fetch.add_argument(
        "--from", type=Path, dest="file", metavar="FILE", help="downloaded by hand already"
    )
    fetch.add_argument("--sha256", default="", metavar="HASH", help="that the file must have")
    fetch.add_argument("--offline", action="store_true", help="only look whether they are here")
    fetch.set_defaults(work=_fetch)


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    from brainseg.models import medical_weights

    table = Table("weights", "encoder", "licence", "fetched", "here", box=None)
    for model in medical_weights.ALL:
        how = "by itself" if model.repository else "by hand"
        here = "yes" if model.path.is_file() else "no"
        table.add_row(medical_weights.PREFIX + model.name, model.encoder, model.licence, how, here)
    Console().print(table)


def _fetch(args: argparse.Namespace) -> None:
    with heeding_offline(args):
        _fetch_named(args)


def _fetch_named(args: argparse.Namespace) -> None:
    from brainseg.models import medical_weights
    from brainseg.models.encoders import require_known
    from brainseg.models.weights import require_weights

    if args.name.startswith(medical_weights.PREFIX) or args.name in (
        m.name for m in medical_weights.ALL
    ):
        print(_fetch_medical(medical_weights.named(args.name), args))
        return
    require_known(args.name)
    if args.file:
        raise ValueError(
            f"--from is for medical weights, {args.name!r} is an encoder; a sweep takes any file "
            f"as it is: --weights {args.file}"
        )
    require_weights(args.name, args.weights)
    print(f"{args.weights} of {args.name} is in the hub's cache")


def _fetch_medical(model: "Medical", args: argparse.Namespace) -> Path:
    """The file in the cache, after its terms were shown and accepted."""
    from brainseg.models import encoders, medical_weights, weights

    if args.offline or (model.path.is_file() and not args.file):
        return medical_weights.cached(model)
    for label in ("images", "page", "licence", "terms", "cite"):
        print(f"{label:8} {getattr(model, label)}")
    if not args.accept_terms:
        raise ValueError(
            f"the terms of {medical_weights.PREFIX}{model.name} must be accepted by whoever "
            "uses it; read them above, then give the same command with --accept-terms"
        )

    def require_fit(path: Path) -> None:
        encoder = encoders.build_encoder(model.encoder)
        weights.load_medical(encoder, model, path, name=model.encoder)

    if args.file:
        return medical_weights.adopt(model, args.file.expanduser(), require_fit, sha256=args.sha256)
    return medical_weights.fetch(model, require_fit, sha256=args.sha256)
