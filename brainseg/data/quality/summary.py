"""A data set in figures, and notes on what is unusual in it but not a problem.

A table here has the columns of data/table.py and these, which describe each image:
    height, width, channels   int
    type                      str, of the numbers in the file
    low, mean, high           a tuple of floats, one a channel
    labels                    int, the labels of its mask's file, see labels.as_bits
    copies                    a tuple of the pairs of channels that are equal
    levels                    str, what is wrong with its patient's grey levels, see levels.py; ""
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainseg.data.channels import flair_channel
from brainseg.data.persons import namesakes, visits
from brainseg.data.quality.labels import of_two_kinds, patients_by_label
from brainseg.data.readers.picture import ALPHA, LOSSY, NARROW, PADDED, TRANSPARENT
from brainseg.data.readers.problems import NAMED, counted, some
from brainseg.data.table import MILLIMETRES, tumour_volumes

DESCRIBED = (
    *("height", "width", "channels", "type", "low", "mean", "high", "labels", "copies", "levels"),
    *("background", "colours"),
)
TRAITS = {
    LOSSY: "are JPEG, which changed their pixels: use the originals where they exist",
    ALPHA: "hold transparency (alpha), which is used as a channel like the others",
    NARROW: "have fewer than 8 bits a sample: they are dark beside images of 8 bits",
    PADDED: "hold NaN up to a corner: taken as padding, all of it is black",
    TRANSPARENT: "declare one colour transparent (tRNS), which is passed over",
}
KEPT = (
    "each such person in one part; if they are different people, give them other names in a "
    "manifest"
)


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """The data set in figures, as JSON; ``tumour_area`` is in pixels, of slices with tumour."""
    per_patient = table.groupby("patient")
    pixels = int((table["height"] * table["width"]).sum())
    sites = per_patient["site"].first()
    volumes, unit = tumour_volumes(table)
    of_patient = {str(k): float(v) for k, v in volumes.groupby(table["patient"]).sum().items()}
    return {
        "patients": per_patient.ngroups,
        "slices": len(table),
        "tumour_slices": int(table["tumour"].sum()),
        "labels": patients_by_label(table),
        "tumour_share": float(table["tumour_pixels"].sum() / max(pixels, 1)),
        "sizes": _counts(_sizes(table)),
        "channels": _counts(table["channels"]),
        "types": _counts(table["type"]),
        "intensities": _intensities(table),
        "tumour_area": _percentiles(
            table["tumour_pixels"][table["tumour"] == 1], 0, 5, 50, 95, 100
        ),
        "slices_per_patient": _percentiles(per_patient.size(), 0, 50, 100),
        "tumour_slices_per_patient": _percentiles(per_patient["tumour"].sum(), 0, 50, 100),
        "tumour_volume": of_patient,
        "tumour_volumes": _percentiles(pd.Series(of_patient, dtype=float), 0, 50, 100),
        "tumour_volume_unit": unit,
        "sites": _counts(sites[sites != ""]),
        "spacing": _counts(_spacing(table)),
    }


def notes(
    listing: pd.DataFrame,
    table: pd.DataFrame,
    names: Sequence[str],
    repeats: Sequence[tuple[str, str]],
) -> list[str]:
    """What is unusual, a sentence each; none of it prevents training.

    Args:
        listing: every slice, whether its files can be read or not.
        names: of the channels, see data/channels.py.
        repeats: pairs of images of one patient that are equal.
    """
    sentences = [
        *_copied_channels(table, names),
        *_blank_channels(table),
        *_levels(table),
        *_tumours(table),
        *_gaps(listing),
    ]
    if patients := of_two_kinds(table):
        sentences.append(
            f"masks of {counted(len(patients), 'patient')} mark tumour by 1 in some slices and by "
            f"255 in others, both are read as tumour: {some(patients)}"
        )
    if repeats:
        files = [f"{later} equals {earlier}" for earlier, later in repeats]
        sentences.append(
            f"{len(files)} of {len(table)} slices repeat another slice of their patient: "
            f"{some(files)}"
        )
    return [*sentences, *_persons(table["patient"])]


def picture_notes(traits: Mapping[str, frozenset[str]]) -> list[str]:
    """What the files of images say beside their samples, each once for all; keys are the files."""
    sentences = []
    for trait, means in TRAITS.items():
        files = [name for name, of_file in traits.items() if trait in of_file]
        if files:
            sentences.append(f"{len(files)} of {len(traits)} images {means}: {some(files)}")
    return sentences


def listing_notes(found: Mapping[str, Sequence[str]]) -> list[str]:
    """What was noted while files were listed, by what it is, with where: a sentence each."""
    return [
        f"{what}, in {len(files)} file{'s' * (len(files) > 1)}: {some(files, '; ')}"
        for what, files in found.items()
    ]


def copied_channels(slices: pd.DataFrame, names: Sequence[str]) -> dict[int, int]:
    """Channels of a patient that equal another in every slice: {copy: original}.

    Where FLAIR is among the equal ones, it is the original.
    """
    flair = flair_channel(names, slices["channels"].iloc[0])
    pairs = set.intersection(*map(set, slices["copies"]))
    alike = {channel: {channel} for pair in pairs for channel in pair}
    for low, high in pairs:
        alike[low].add(high)
        alike[high].add(low)
    source = {k: min(group & {flair} or group) for k, group in alike.items()}
    return {channel: source[channel] for channel in sorted(source) if source[channel] != channel}


def _copied_channels(table: pd.DataFrame, names: Sequence[str]) -> Iterator[str]:
    """Channels that are copies in every slice of a patient, as of a missing sequence."""
    channels = set(table["channels"])
    flair = flair_channel(names, channels.pop()) if len(channels) == 1 else None
    per_patient = {
        patient: copied_channels(rows, names) for patient, rows in table.groupby("patient")
    }
    for pair in sorted({pair for copies in per_patient.values() for pair in copies.items()}):
        patients = [str(name) for name, copies in per_patient.items() if pair in copies.items()]
        yield (
            f"channel {pair[0]} equals channel {pair[1]}{' (FLAIR)' * (pair[1] == flair)} in "
            f"{len(patients)} of {len(per_patient)} patients, perhaps in place of a missing "
            f"sequence: {some(patients)}"
        )


def _blank_channels(table: pd.DataFrame) -> Iterator[str]:
    """Slices, and channels, that hold a single value."""
    always: dict[str, set[int]] = {}
    blank: dict[str, list[int]] = {}
    for row in table.to_dict("records"):
        levels = zip(row["low"], row["high"], strict=True)
        constant = {channel for channel, (low, high) in enumerate(levels) if low == high}
        always[row["patient"]] = always.get(row["patient"], constant) & constant
        if len(constant) == row["channels"]:
            blank.setdefault(row["patient"], []).append(row["slice"])
    if blank:
        count = sum(map(len, blank.values()))
        where = [f"{patient} ({some(map(str, slices))})" for patient, slices in blank.items()]
        yield f"{count} of {len(table)} slices are blank: {some(where, '; ')}"
    for channel in sorted(set().union(*always.values())):
        patients = [patient for patient, constant in always.items() if channel in constant]
        yield (
            f"channel {channel} holds a single value (transparency, or a missing sequence) in "
            f"{len(patients)} of {len(always)} patients: {some(patients)}"
        )


def _tumours(table: pd.DataFrame) -> Iterator[str]:
    tumour = table.groupby("patient")["tumour"].sum()
    without = [str(patient) for patient in tumour.index[tumour == 0]]
    if without:
        yield f"{len(without)} of {len(tumour)} patients have no tumour: {some(without)}"


def _levels(table: pd.DataFrame) -> Iterator[str]:
    """One sentence a patient; where there are many, one for all others."""
    levels = table[table["levels"] != ""].groupby("patient")["levels"].first()
    for patient, fault in levels.head(NAMED).items():
        yield f"{patient} {fault}"
    if others := levels.index[NAMED:].tolist():
        more = counted(len(others), "more patient")
        yield f"so it is with the grey levels of {more}: {some(others)}"


def _persons(patients: "pd.Series[str]") -> Iterator[str]:
    """What names say of who is who; a split acts on both."""
    for groups, what in (
        (visits(patients), "may be {}, by their names (a visit, a date, case)"),
        (namesakes(patients), "have equal last folders, as {} would"),
    ):
        if groups:
            listed = some((", ".join(group) for group in groups), "; ")
            persons = counted(len(groups), "person")
            yield (
                f"{sum(map(len, groups))} patients {what.format(persons)}: {listed}; they count as "
                f"patients of their own, and every split keeps {KEPT}"
            )


def _gaps(listing: pd.DataFrame) -> Iterator[str]:
    lacking = []
    for patient, numbers in listing.groupby("patient")["slice"]:
        present = set(numbers)
        missing = [n for n in range(min(present), max(present)) if n not in present]
        if missing:
            lacking.append(f"{patient} lacks {some(map(str, missing))}")
    if lacking:
        share = f"{len(lacking)} of {listing['patient'].nunique()} patients"
        yield f"slice numbers have gaps in {share}: {some(lacking, '; ')}"


def _intensities(table: pd.DataFrame) -> list[dict[str, float]]:
    """Grey levels of each channel, over images with the most frequent number of channels."""
    if table.empty:
        return []
    usual = table[table["channels"] == table["channels"].mode().iloc[0]]
    low, mean, high = (np.array(usual[name].tolist()) for name in ("low", "mean", "high"))
    return [
        {"low": float(a), "mean": float(b), "high": float(c)}
        for a, b, c in zip(low.min(axis=0), mean.mean(axis=0), high.max(axis=0), strict=True)
    ]


def _spacing(table: pd.DataFrame) -> "pd.Series[str]":
    first = table.groupby("patient")[list(MILLIMETRES)].first().dropna()
    return first.apply(lambda mm: "x".join(f"{length:g}" for length in mm) + " mm", axis=1)


def _sizes(table: pd.DataFrame) -> "pd.Series[str]":
    return table["height"].astype(str) + "x" + table["width"].astype(str)


def _counts(values: "pd.Series[Any]") -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().items()}


def _percentiles(values: "pd.Series[Any]", *percent: int) -> dict[str, float]:
    return {str(p): float(values.quantile(p / 100)) for p in percent} if len(values) else {}
