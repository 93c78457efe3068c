"""nnU-Net's dataset.json, of version 1 or 2.

2  {"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".png"}
1  {"modality": {"0": "T1"}, "labels": {"0": "background", "1": "tumour"}}
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DESCRIPTION = "dataset.json"


@dataclass(frozen=True)
class Description:
    """What a dataset.json says that matters here."""

    channels: tuple[str, ...]
    labels: tuple[int, ...]  # other than the background's 0
    legend: str  # the labels as they are written
    ending: str  # of its files; "" if unknown
    cases: int | None  # for training; None if it does not say


def read_description(path: Path) -> Description:
    """Read a dataset.json.

    Raises:
        ValueError: what is wrong with it, after its name: "lacks labels".
    """
    about = _object(path)
    ending = about.get("file_ending", "")
    if not isinstance(ending, str):
        raise ValueError(f"has the file_ending {ending!r}, which is no text")
    channels, labels = _channels(about), _foreground(about)
    cases = about.get("numTraining")
    cases = cases if isinstance(cases, int) else None
    return Description(channels, labels, json.dumps(about["labels"]), ending, cases)


def _object(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_bytes())  # UTF-8, 16 or 32, with or without a mark of order
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):  # a number of 5,000 digits; 100,000 brackets
        raise ValueError("is no JSON that can be read") from None
    if not isinstance(about, dict):
        raise ValueError("is a list or a value, not names with values in braces")
    return about


def _channels(about: dict[str, Any]) -> tuple[str, ...]:
    key = "channel_names" if about.get("channel_names") else "modality"
    channels = about.get(key)
    if not channels:
        raise ValueError("lacks channel_names, which version 1 calls modality")
    if isinstance(channels, list):
        channels = {str(n): name for n, name in enumerate(channels)}
    if not isinstance(channels, dict):
        raise ValueError(f'has the {key} {channels!r}, not as {{"0": "FLAIR", "1": "T1"}}')
    if channels.keys() != set(map(str, range(len(channels)))):
        numbers = ", ".join(channels)
        raise ValueError(f"has the {key} {numbers}, which must be numbered 0, 1, 2 and so on")
    return tuple(str(channels[str(n)]) for n in range(len(channels)))


def _foreground(about: dict[str, Any]) -> tuple[int, ...]:
    """The values above 0 of {"background": 0, "whole": [1, 2]}, or of {"0": ..., "1": ...}."""
    labels = about.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ValueError('lacks labels, as {"background": 0, "tumour": 1}')
    old = all(key.isdecimal() for key in labels)
    values = set()
    for name, value in labels.items():
        region = name if old else value
        for number in region if isinstance(region, list) else [region]:
            try:
                values.add(int(number))
            except (TypeError, ValueError, OverflowError):
                raise ValueError(f"has the label {name!r}: {value!r}, which is no number") from None
    if "ignore" in labels:
        raise ValueError("has the label ignore: what is not annotated cannot be trained on")
    return tuple(sorted(values - {0}))
