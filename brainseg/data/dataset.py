"""A data set: its slices, and where this node has them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from brainseg.data.address import is_address
from brainseg.data.formats.detect import read_folder
from brainseg.data.remote import local_copy
from brainseg.process import Log, plain
from brainseg.records.cache import default_cache


@dataclass(frozen=True, kw_only=True)
class Data:
    """The slices of a sweep, and the folder that holds them on this node."""

    address: str  # as the user gave it; a path is made absolute
    root: Path
    layout: str
    channels: tuple[str, ...]  # names, see data/channels.py
    label: str = ""  # what of a mask is tumour, see data/labels.py
    table: pd.DataFrame
    mask_digests: list[str]  # of the table's rows, see readers/masks.py


def read_data(data: str, layout: str, log: Log, label: str = "") -> Data:
    """List the slices of a folder; data behind an address are copied to this node first."""
    root = local_copy(data, default_cache(), log=log)
    contents = read_folder(root, layout, label)
    if unused := contents.account.unused:
        log(plain(f"not used of the data: {unused}"))
    address = data if is_address(data) else str(root.resolve())
    return Data(
        address=address,
        root=root,
        layout=contents.layout,
        channels=contents.channels,
        label=label,
        table=contents.table,
        mask_digests=contents.mask_digests,
    )
