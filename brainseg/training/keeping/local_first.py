"""A checkpoint is first written to a disk of this machine where the run's folder is on a network.

So a trial that is killed while its checkpoint crosses the network has lost nothing, if it resumes
on the same machine: what it left there is brought to the run's folder before anything is chosen.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil

from brainseg.records.cache import default_cache
from brainseg.records.checkpoint_index import indexed
from brainseg.records.files import read_json, write_text
from brainseg.records.run import Run
from brainseg.training.keeping import checkpoint
from brainseg.training.keeping.checkpoint import Objection

NETWORKS = (  # how the types of their file systems begin
    *("nfs", "cifs", "smb", "9p", "afs", "lustre", "gpfs", "beegfs", "ceph", "gluster", "pvfs"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.juicefs", "fuse.gluster", "fuse.ceph"),
)
FOLLOWS = "follows"  # names the checkpoint before it, in the run's folder


def file_system(path: Path) -> str:
    """The type of the file system that holds ``path``, or will; "" if the system does not say."""
    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    path = path.resolve()
    return next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), "")


def near_folder(run: Path, trial: str, type_of: Callable[[Path], str] = file_system) -> Path | None:
    """Where a trial's checkpoints are written first; None: straight to the run's folder.

    Args:
        type_of: the type of the file system of a folder.
    """
    cache = default_cache()
    if not type_of(run).startswith(NETWORKS) or type_of(cache).startswith(NETWORKS):
        return None
    settings = read_json(Run(run).sweep, kind=dict)
    identity = settings.get("uid") or sha256(str(run.resolve()).encode()).hexdigest()[:16]
    return cache / "checkpoints" / str(identity) / trial


def write_near(
    near: Path, folder: Path, network: Path, counting: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Write the network that counts, if one is new, and the checkpoint; without room, neither.

    Args:
        folder: the trial's, whose newest checkpoint this one follows.
        counting: the network and its epoch; empty for none.
    """
    with suppress(OSError):  # the run's folder is written all the same
        near.mkdir(parents=True, exist_ok=True)
        if counting:
            checkpoint.save_network(near / network.name, counting["network"], counting["epoch"])
        write_text(near / FOLLOWS, _newest_of(folder))
        checkpoint.save_latest(near, state["epoch"], dict(state))


def drop_near(near: Path) -> None:
    """Remove what is there: the run's folder has it, or it is of no use."""
    shutil.rmtree(near, ignore_errors=True)


def adopt(near: Path, folder: Path, network: Path, foreign: Objection) -> None:
    """Bring a checkpoint that never reached the run's folder there, unless another one did.

    It must follow what is the newest there now: elsewhere, the trial may have gone on otherwise.

    Args:
        foreign: why it is of another trial, or given up.
    """
    left = checkpoint.Newest()
    with suppress(OSError, ValueError):  # none of them is whole
        left = checkpoint.newest(near, foreign=foreign)
    if left.file and _text(near / FOLLOWS) == _newest_of(folder):
        with suppress(FileNotFoundError):
            held = checkpoint.load(near / network.name)
            checkpoint.save_network(network, held["network"], held["epoch"])
        checkpoint.save_latest(folder, left.state["epoch"], left.state)
    drop_near(near)


def _newest_of(folder: Path) -> str:
    """Name and digest of the newest checkpoint that a folder's index names."""
    return " ".join(next(iter(indexed(folder).items()), ()))


def _text(path: Path) -> str | None:
    """What a file says; None if it cannot be read."""
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")
    return None
