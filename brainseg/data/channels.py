"""What each channel of an image shows, by the names that the layout of a data set knows.

Names are () where none are known. They hold for images of as many channels as there are names:
of any other number nothing is known.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

LGG = ("pre-contrast", "FLAIR", "post-contrast")
MEANS_FLAIR = re.compile(r"flair|(?<![a-z0-9])t2f(?![a-z0-9])", re.I)  # t2f: BraTS since 2023


def flair_channel(names: Sequence[str], channels: int) -> int | None:
    """Which of so many channels is FLAIR; None where no name says so, or more than one."""
    flair = [k for k, name in enumerate(names) if MEANS_FLAIR.search(name)]
    return flair[0] if len(names) == channels and len(flair) == 1 else None


def recorded_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the ``data`` of a sweep.json; runs begun before they were kept had LGG's."""
    usual = LGG if data.get("layout", "lgg") == "lgg" else ()
    return tuple(data.get("channels", usual))


def stand_in(data: Mapping[str, Any], channels: int) -> int | None:
    """The channel that a run's training shows in place of missing ones: FLAIR; None: no dropout.

    A run begun before names were kept took channel 1 in every layout. It goes on as it began, so
    that all its trials are trained alike.
    """
    if "channels" in data:
        return flair_channel(data["channels"], channels)
    return 1 if channels > 1 else None


def dropout_is_off(data: Mapping[str, Any], channels: int) -> str:
    """A sentence that says why a run has no modality dropout; "" where it has, or needs none."""
    if channels == 1 or stand_in(data, channels) is not None:
        return ""
    names = recorded_names(data)
    known = f"the names known are {', '.join(map(repr, names))}" if names else "no names are known"
    return (
        "modality dropout (augment.missing) needs to know which channel is FLAIR and is off for "
        f"this data set: its images have {channels} channels, {known}; name one FLAIR in "
        "nnU-Net's dataset.json, in the names of NIfTI files, or in a manifest's column channels, "
        "as T1|FLAIR|T2"
    )
