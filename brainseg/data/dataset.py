"""A data set: its slices, and where this node has them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from brainseg.data.address import is_address
from brainseg.data.formats.detect import read_folder
from brainseg.data.remote import local_copy
from brainseg.records.cache import default_cache

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
