"""A sweep's folder: its settings and data are written, or compared with the ones recorded."""

import platform
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from brainseg.config.claims import to_record
from brainseg.config.effect import with_effect
from brainseg.config.hyperparameters import completed
from brainseg.config.origins import Confirms
from brainseg.config.schema import flatten
from brainseg.config.sweep import Bayes, Points, Sweep
from brainseg.data.address import is_address
from brainseg.data.dataset import Data
from brainseg.data.fingerprint import file_contents, fingerprint, what_differs
from brainseg.data.labels import with_label
from brainseg.data.pack.store import open_pack
from brainseg.data.partition import counts
from brainseg.data.splits.draw import shared_patients
from brainseg.data.splits.folds import fold_column
from brainseg.data.table import with_columns
from brainseg.evaluation.baselines import baselines
from brainseg.records.files import write_json, write_text
from brainseg.records.locks import Held, locked
from brainseg.records.run import Run
from brainseg.search.warm_start import PreviousTrial, previous_trials

PLACE = ("root", "copy")  # of the data: where they lie


def open_run(
    run: Run,
    sweep: Sweep,
    data: Data,
    *,
    made_up: bool,
    command: str,
    earlier: Path | None = None,
) -> list[PreviousTrial]:
    """Write the sweep's settings and data; return the trials that the search starts from.

    Args:
        data: its table has the columns that ``assign_split`` gives.
        earlier: the folder of a sweep whose trials this one starts from.

    Raises:
        ValueError: this folder, or ``earlier``, holds a sweep with other settings.
    """
    asked = _asked(sweep, data, made_up)
    previous = []
    if earlier:
        previous = previous_trials(
            Run(earlier), sweep, asked, lambda run: what_differs(run, data.table, data.root)
        )
    asked["from"] = str(earlier.resolve()) if earlier else ""
    if run.sweep.exists():
        run.precision()  # refuses a record that no trial could follow
        _refuse_other_data(run, data)
        _refuse_other(run, sweep, asked)
        _note_place(run, asked["data"])
        _add_seeds(run, data, asked)
        return previous
    about = {
        "phase": sweep.phase,
        "claims": [to_record(claim) for claim in sweep.claims],
        "baselines": _baselines(sweep, data),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "uid": uuid.uuid4().hex[:8],
        "command": command,
        "versions": _versions(),
    }
    run.create()
    write_text(run.slices, data.table.to_csv(index=False))
    write_json(run.files, file_contents(data.table, data.root))
    write_json(run.sweep, {**asked, **about})
    return previous


@contextmanager
def locked_run(run: Run) -> Iterator[None]:
    """Lock the run's folder, so that no second driver works in it.

    Raises:
        ValueError: another driver has locked it (its host and process are named), or the folder
            cannot be written to.
    """
    try:
        run.create()
        write_text(run.path / "probe", "written, renamed and removed before the first trial\n")
        (run.path / "probe").unlink()
        lock = ExitStack()
        lock.enter_context(locked(run.path / "lock", wait=False))
    except Held as held:
        raise ValueError(
            f"{run.path} is in use by {held.holder}; wait for it, stop it, or choose another --name"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{run.path} cannot be written to ({error.strerror}); free or mount it, or name "
            "another folder with --storage"
        ) from None
    with lock:
        yield


def _asked(sweep: Sweep, data: Data, made_up: bool) -> dict[str, Any]:
    table = data.table
    shared = shared_patients(table, table["part"])
    confirms = {"confirms": _confirms(sweep.confirms)} if sweep.confirms else {}
    refits = {"refits": asdict(sweep.refits)} if sweep.refits else {}
    space = sweep.space
    return {
        "name": sweep.name,
        "question": sweep.question,
        "data": {
            "root": data.address,
            "copy": data.root.name if is_address(data.address) else "",
            "layout": data.layout,
            "channels": list(data.channels),
            "label": data.label,
            "fingerprint": fingerprint(table, data.root),
            "patients": int(table["patient"].nunique()),
            "slices": len(table),
            "tumour_slices": int(table["tumour"].sum()),
            "made_up": made_up,
        },
        "split": {**asdict(sweep.split), "counts": counts(table), "shared_patients": shared},
        "strategy": _strategy(sweep.strategy),
        "objectives": list(sweep.judged_by),
        "base": flatten(space.config({})),
        "fixed": with_effect(space.fixed, space, sweep.first, draws=sweep.draws),
        "space": {path: str(d) for path, d in space.distributions().items()},
        "first": [dict(point) for point in sweep.first],
        **confirms,
        **refits,
    }


def _strategy(strategy: Bayes | Points) -> dict[str, Any]:
    """The kind and its settings, without the budget, which may be raised when a run resumes."""
    settings: dict[str, Any] = {"kind": type(strategy).__name__.lower(), **asdict(strategy)}
    del settings["trials"]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


def _confirms(confirms: Confirms) -> dict[str, Any]:
    record = asdict(confirms)
    origins = record.pop("origins")
    return {**record, "arms": list(origins)}


def _baselines(sweep: Sweep, data: Data) -> dict[str, Any]:
    """Scores on the validation slices at the base's image size; test patients stay locked."""
    base = sweep.space.config({})
    if sweep.refits:
        return {"image_size": base.image_size, "predictors": []}
    pack = open_pack(data.table, data.root, image_size=base.image_size, channels=base.channels)
    scores = baselines(pack.masks_NHW, data.table)
    return {
        "image_size": base.image_size,
        "predictors": [asdict(predictor) for predictor in scores],
    }


def _refuse_other_data(run: Run, data: Data) -> None:
    known, asked = run.settings()["data"].get("label", ""), data.label
    if asked != known:
        remedy = f"give --label {known}" if known else "leave --label out"
        raise ValueError(
            f"{run.path} holds a sweep {with_label(known)}, not {with_label(asked)}; {remedy} as "
            "before, or choose another --name"
        )
    if difference := what_differs(run, data.table, data.root):
        raise ValueError(
            f"{run.path} holds a sweep on other data than those under {data.address}: "
            f"{difference}; restore the files, or choose another --name"
        )


def _note_place(run: Run, data: dict[str, Any]) -> None:
    """Record where the data lie now: the same data may have moved since the run started."""
    known = run.settings()
    place = {name: data[name] for name in PLACE}
    if known["data"] != (moved := known["data"] | place):
        write_json(run.sweep, known | {"data": moved})


def _extended(known: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """``known`` with the seeds that ``asked`` adds to the end of its own, if it does that."""
    seeds, before = asked["strategy"].get("seeds", []), known["strategy"].get("seeds", [])
    if len(seeds) <= len(before) or seeds[: len(before)] != before:
        return known
    counts = asked["split"]["counts"]  # folds that were cut for further seeds may be larger
    return known | {
        "strategy": known["strategy"] | {"seeds": seeds},
        "split": known["split"] | {"counts": counts},
    }


def _add_seeds(run: Run, data: Data, asked: dict[str, Any]) -> None:
    """Record further seeds and their folds: first these, so that no seed ever is without.

    A driver that dies in between leaves folds of seeds that are not trained yet, which the same
    command finds there again.
    """
    known = run.settings()
    if (extended := _extended(known, asked)) == known:
        return
    new = [name for name in map(fold_column, asked["strategy"]["seeds"]) if name in data.table]
    write_text(run.slices, with_columns(run.slices, data.table[new]))
    write_json(run.sweep, extended)


def _refuse_other(run: Run, sweep: Sweep, asked: dict[str, Any]) -> None:
    known = _extended(run.settings(), asked)
    known["fixed"] = with_effect(known["fixed"], sweep.space, sweep.first, draws=sweep.draws)
    known["data"].setdefault("channels", asked["data"]["channels"])  # not written by older versions
    for name in ("fingerprint", *PLACE):  # compared by ``what_differs``
        known["data"][name] = asked["data"][name]
    known["data"].setdefault("label", "")
    if "race" in asked["strategy"]:
        known["strategy"].setdefault("race", False)  # none in older versions
    known["base"] = completed(known["base"])
    differing = []
    for key, value in asked.items():
        if known.get(key) != value:
            parts = value if isinstance(value, dict) else {}
            inner = [k for k in parts if (known.get(key) or {}).get(k) != parts[k]]
            differing += [f"{key}.{k}" for k in inner] or [key]
    if differing:
        seeds = ",".join(map(str, known["strategy"].get("seeds", [])))
        further = f" (further seeds come after those that it has: --seeds {seeds},...)"
        raise ValueError(
            f"{run.path} holds a sweep with other settings: {', '.join(differing)} differ; "
            "choose another --name, or repeat the command that started it"
            + further
            * ("strategy.seeds" in differing)
        )


def _versions() -> dict[str, str]:
    names = ("brainseg", "torch", "ray", "optuna", "segmentation-models-pytorch", "albumentations")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
