"""A sweep's folder: begun with what is asked and of which data, or found to be asked the same."""

import fcntl
import os
import platform
import socket
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainseg.config.claims import to_record
from brainseg.config.schema import flatten
from brainseg.config.sweep import Bayes, Confirms, Points, Split, Sweep
from brainseg.data.formats.detect import read_folder
from brainseg.data.pack.store import default_cache, open_pack
from brainseg.data.quality.duplicates import hash_slices, linked_patients
from brainseg.data.remote import is_address, local_copy
from brainseg.data.splits.draw import Groups, locked_and_folds, shared_patients, split_table
from brainseg.data.table import fingerprint, read_table
from brainseg.evaluation.baselines import baselines
from brainseg.records.run import Run, read_json, write_json, write_text
from brainseg.search.warm_start import Earlier, earlier_trials

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The slices of a sweep, and where this node has them."""

    address: str  # as the user named it; a path from the root of the file system
    root: Path
    layout: str
    channels: tuple[str, ...]  # names, see data/channels.py
    table: pd.DataFrame


def read_data(data: str, layout: str, say: Say) -> Data:
    """List the slices of a folder; one that lies elsewhere is copied here first."""
    root = local_copy(data, default_cache(), say=say)
    found = read_folder(root, layout)
    address = data if is_address(data) else str(root.resolve())
    return Data(
        address=address,
        root=root,
        layout=found.layout,
        channels=found.channels,
        table=found.table,
    )


def parted(
    data: Data, split: Split, say: Say, run: Run | None = None, confirms: Confirms | None = None
) -> pd.DataFrame:
    """The part of each slice, and its fold if there are any: as the run began, else drawn now.

    What is under way keeps its split, whatever a newer version of brainseg would draw, or a split
    file says by now. So do the patients that the search locked which a sweep ``confirms``. Of
    folds, the part is 'test', where fold is -1, or 'train'.
    """
    if run and run.sweep.exists():
        begun = read_table(run.slices)
        if begun[["patient", "slice"]].equals(data.table[["patient", "slice"]]):
            return begun[[name for name in ("part", "fold") if name in begun]]
    groups = None if split.by == "slices" else linked(data, say)
    if confirms:
        part = _as_searched(data, Run(Path(confirms.search)))
    else:
        part = split_table(data.table, split, groups)
    if not split.folds:
        return part.to_frame("part")
    fold = locked_and_folds(data.table, part, split.folds, split.seed, groups)
    return pd.DataFrame({"part": np.where(fold < 0, "test", "train"), "fold": fold})


def _as_searched(data: Data, search: Run) -> pd.Series:
    """The parts that a search began with.

    Raises:
        ValueError: the data are not the search's.
    """
    begun, known = read_table(search.slices), read_json(search.sweep)["data"]["fingerprint"]
    if known != fingerprint(data.table, data.root):
        raise ValueError(
            f"a confirmation needs the very files of its search, those under {data.address} are "
            f"not the ones that {search.path} began with; restore them, or search again"
        )
    return begun["part"]


def linked(data: Data, say: Say) -> Groups:
    """Which patients share slices, or may be one person; they are not parted by a split."""
    groups = linked_patients(data.table, hash_slices(data.table, data.root))
    members = defaultdict(list)
    for patient, group in groups.items():
        members[group].append(patient)
    for names in members.values():
        if len(names) > 1:
            say(f"{', '.join(names)} are linked (brainseg check says how): kept on one side")
    return groups


def open_run(
    run: Run,
    sweep: Sweep,
    data: Data,
    *,
    made_up: bool,
    command: str,
    earlier: Path | None = None,
) -> list[Earlier]:
    """Write what is asked and of which data; return the trials of the sweep it starts from.

    ``data.table`` has the columns of ``parted``.

    Raises:
        ValueError: the folder holds a sweep that asked something else, or the ``earlier`` one did.
    """
    asked = _asked(sweep, data, made_up)
    learnt = earlier_trials(Run(earlier), sweep, asked) if earlier else []
    asked["from"] = str(earlier.resolve()) if earlier else ""
    if run.sweep.exists():
        _refuse_other(run, asked)
        return learnt
    about = {
        "phase": sweep.phase,
        "claims": [to_record(claim) for claim in sweep.claims],
        "baselines": _baselines(sweep, data),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "uid": uuid.uuid4().hex[:8],
        "command": command,
        "versions": _versions(),
    }
    data.table.to_csv(run.path / "slices.part", index=False)
    (run.path / "slices.part").replace(run.slices)
    write_json(run.sweep, {**asked, **about})
    return learnt


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold the run's folder, so that no second driver works in it.

    Raises:
        ValueError: another driver holds it (its host and process are named), or the folder
            cannot be written to.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        write_text(run.path / "probe", "written, renamed and removed before the first trial\n")
        (run.path / "probe").unlink()
        lock = (run.path / "lock").open("a+")
    except OSError as error:
        raise ValueError(
            f"{run.path} cannot be written to ({error.strerror}); free or mount it, or name "
            "another folder with --storage"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise ValueError(
                f"{run.path} is in use by {lock.read().strip() or 'another process'}; wait for "
                "it, stop it, or choose another --name"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield


def _asked(sweep: Sweep, data: Data, made_up: bool) -> dict[str, Any]:
    table = data.table
    shared = shared_patients(table, table["part"])
    confirms = {"confirms": _confirms(sweep.confirms)} if sweep.confirms else {}
    return {
        "name": sweep.name,
        "question": sweep.question,
        "data": {
            "root": data.address,
            "copy": data.root.name if is_address(data.address) else "",
            "layout": data.layout,
            "channels": list(data.channels),
            "fingerprint": fingerprint(table, data.root),
            "patients": int(table["patient"].nunique()),
            "slices": len(table),
            "tumour_slices": int(table["tumour"].sum()),
            "made_up": made_up,
        },
        "split": {**asdict(sweep.split), "counts": counts(table), "shared_patients": shared},
        "strategy": _strategy(sweep.strategy),
        "objectives": list(sweep.objectives),
        "base": flatten(sweep.space.config({})),
        "fixed": dict(sweep.space.fixed),
        "space": {path: str(d) for path, d in sweep.space.distributions().items()},
        "first": [dict(point) for point in sweep.first],
        **confirms,
    }


def _strategy(strategy: Bayes | Points) -> dict[str, Any]:
    """The kind and all it is set to but the budget, which may be raised."""
    settings: dict[str, Any] = {"kind": type(strategy).__name__.lower(), **asdict(strategy)}
    del settings["trials"]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


def _confirms(confirms: Confirms) -> dict[str, Any]:
    return {**asdict(confirms), "arms": [asdict(arm) for arm in confirms.arms]}


def counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Patients and slices of each part, or of the test part and each fold."""
    part = table["part"]
    if "fold" in table:
        part = part.where(table["fold"] < 0, "fold " + table["fold"].astype(str))
    order = sorted(set(part), key=lambda name: (len(name), name))  # fold 2 before fold 10
    rows = {str(name): table[part == name] for name in order}
    return {
        name: {"patients": int(own["patient"].nunique()), "slices": len(own)}
        for name, own in rows.items()
    }


def _baselines(sweep: Sweep, data: Data) -> dict[str, Any]:
    """Scores on the validation slices as most trials see them; the test part stays locked."""
    base = sweep.space.config({})
    pack = open_pack(data.table, data.root, image_size=base.image_size, channels=base.channels)
    found = baselines(pack.masks_NHW, data.table)
    return {"image_size": base.image_size, "predictors": [asdict(one) for one in found]}


def _refuse_other(run: Run, asked: dict[str, Any]) -> None:
    known = read_json(run.sweep)
    known["data"].setdefault("channels", asked["data"]["channels"])  # not kept by older versions
    differing = []
    for key, value in asked.items():
        if known.get(key) != value:
            parts = value if isinstance(value, dict) else {}
            inner = [k for k in parts if (known.get(key) or {}).get(k) != parts[k]]
            differing += [f"{key}.{k}" for k in inner] or [key]
    if differing:
        raise ValueError(
            f"{run.path} holds a sweep that asked something else: {', '.join(differing)} differ; "
            "choose another --name, or repeat the command that began it"
        )


def _versions() -> dict[str, str]:
    names = ("brainseg", "torch", "ray", "optuna", "segmentation-models-pytorch", "albumentations")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
