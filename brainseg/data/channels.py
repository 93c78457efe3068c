"""The names of an image's channels, as the layout of a data set gives them.

Names are () where none are known. They apply only to images with exactly as many channels.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

LGG = ("pre-contrast", "FLAIR", "post-contrast")
MEANS_FLAIR = re.compile(r"flair|(?<![a-z0-9])t2f(?![a-z0-9])", re.I)  # t2f: BraTS since 2023


def flair_channel(names: Sequence[str], channels: int) -> int | None:
    """The index of FLAIR among so many channels; None if no name says FLAIR, or several do."""
    flair = [k for k, name in enumerate(names) if MEANS_FLAIR.search(name)]
    return flair[0] if len(names) == channels and len(flair) == 1 else None


def recorded_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the ``data`` of a sweep.json; runs older than these names had LGG's."""
    usual = LGG if data.get("layout", "lgg") == "lgg" else ()
    return tuple(data.get("channels", usual))


def stand_in(data: Mapping[str, Any], channels: int) -> int | None:
    """The channel that modality dropout shows in place of others: FLAIR; None: no dropout.

    A run that was started before names were recorded used channel 1 in every layout. It continues
    to, so that all its trials are trained alike.
    """
    if "channels" in data:
        return flair_channel(data["channels"], channels)
    return 1 if channels > 1 else None


def dropout_is_off(data: Mapping[str, Any], channels: int) -> str:
    """Why modality dropout is off for a run; "" if it is on, or the images have one channel."""
    if channels == 1 or stand_in(data, channels) is not None:
        return ""
    names = recorded_names(data)
    known = f"named {', '.join(map(repr, names))}" if names else "without known names"
    return (
        "modality dropout (augment.missing) is off for this data set: it must know which channel "
        f"is FLAIR, and the images have {channels} channels {known}; name one FLAIR in nnU-Net's "
        "dataset.json, in the names of NIfTI files, or in the column channels of a manifest, as "
        "T1|FLAIR|T2"
    )
