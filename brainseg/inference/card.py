"""The model card: what a model is, what is known of it, and what it is not for.

Its sections are those of Mitchell et al. (2019), "Model cards for model reporting", under the
headings of the Hugging Face hub.
"""

from collections.abc import Mapping
from typing import Any

from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.data.labels import in_words
from brainseg.inference.description import HALF, Description
from brainseg.inference.preprocessing import as_markdown, preprocessing

HEAD = """\
---
library_name: brainseg
pipeline_tag: image-segmentation
tags: [mri, brain, tumour, segmentation]
---
"""
NOT_TESTED = """\
On anything but the patients above. In particular nothing is known of it

- on scanners, field strengths, sequences and hospitals that the data do not have
- on children, where the data are of adults, and the reverse
- on other tumours than those in the data, on metastases, and on lesions that are no tumour
- after an operation or radiotherapy, with implants, or with strong artefacts
- on images that were registered, skull-stripped or resampled in another way than those
- by age, sex or ethnic group: the data say nothing of them

Its masks follow one protocol of annotation; another outlines the same tumour otherwise. A high mean
hides patients on whom it fails altogether: look at every mask.\
"""
USE = """\
```python
import brainseg

model = brainseg.load("this folder")
mask = model.predict(image)  # {shape}: uint8, 1 is tumour
probability = model.probabilities(image)  # float32, 0 to 1
```

`image` is an array of any number type, {axes}. Give all slices of a patient at once: their
intensities are scaled together.

```
brainseg predict "this folder" IN OUT
```

`IN` is an image, a NIfTI volume, a folder of them or a table; `OUT` gets masks of the same size.\
"""


def card(description: Description, use: str = "") -> str:
    """The card in Markdown: of a bundle, or with ``use``, which says how another form is used."""
    config = description.trial_config
    sections = {
        "What it does": _purpose(description),
        "How to use it": use or _use(description),
        "Data": _data(description),
        "Images and preprocessing": preprocessing(config, description.channels),
        "Threshold": _threshold(description),
        "How good it is": _scores(description),
        "What it was not tested on": NOT_TESTED,
        "Network and training": _training(description, config),
        "Weights it started from, and licence": _licence(description),
        "Where it comes from": _origin(description),
    }
    parts = [f"## {title}\n\n{text}\n" for title, text in sections.items()]
    title = f"# Tumour in brain MRI: {as_markdown(description.name)}\n"
    return "\n".join([HEAD, title, *parts])


def _purpose(description: Description) -> str:
    label = in_words(description.label)
    outlines = f" In the masks that it learnt from, {label}." if label else ""
    return (
        "Outlines tumour in slices of a brain MRI: of each pixel it says how probable tumour is."
        f"{outlines}\n\n"
        "**Not a medical device.** It is for research. It must not be used to diagnose, to plan a "
        "treatment or to choose between treatments, and no one has tested it for that."
    )


def _use(description: Description) -> str:
    channels = description.trial_config.channels
    axes = f"one slice (H, W, {channels}) or a patient's slices (S, H, W, {channels})"
    if channels == 1:
        axes = "one slice (H, W) or a patient's slices (S, H, W)"
    return USE.format(shape="(H, W) or (S, H, W)", axes=axes)


def _data(description: Description) -> str:
    data = description.data
    if not data:
        return "Not recorded."
    made_up = "**Made-up images of no patient**, drawn by a program to try the software out. "
    lines = [
        f"{made_up if data.get('made_up') else ''}"
        f"{_counted(data)} in the layout `{data.get('layout', 'unknown')}`, "
        f"fingerprint `{data.get('fingerprint', 'unknown')}`.",
        "",
        "| part | patients | slices | with tumour |",
        "|---|---|---|---|",
    ]
    parts = {"trained_on": "trained on", "validated_on": "validated on", "locked": "locked"}
    for name, title in parts.items():
        if counts := data.get(name):
            figures = (counts[key] for key in ("patients", "slices", "tumour_slices"))
            lines.append(f"| {title} | {' | '.join(map(str, figures))} |")
    lines += ["", _split(description)]
    if sites := data.get("sites"):
        lines.append(f"Sites: {', '.join(map(as_markdown, sites))}.")
    else:
        lines.append("Where the patients were scanned is not recorded.")
    return "\n".join(lines)


def _split(description: Description) -> str:
    data = description.data
    drawn = "Slices of one patient are all in one part."
    if data.get("patients_in_several_parts"):
        drawn = (
            "**Slices of one patient are in several parts**, so what it scored says little about "
            "new patients."
        )
    shared = bool(data.get("patients_in_several_parts"))
    what, who = ("slices", "Locked slices") if shared else ("patients", "Locked patients")
    if description.kind == "refit":
        drawn += f" All {what} but the locked ones trained it, so nobody validated it."
    if description.kind == "ensemble" and data.get("folds"):
        drawn += (
            f" In {data['folds']} folds every patient validated the networks that were not trained "
            "on them, and trained the others."
        )
    if not data.get("locked", {}).get("patients"):
        return f"{drawn} No patients are locked: all had a part in it."
    others = ", but others of the same patients may have" if shared else ""
    return f"{drawn} {who} neither trained it nor chose anything of it{others}."


def _threshold(description: Description) -> str:
    threshold = description.threshold
    rule = f"A pixel is tumour where its probability is above **{threshold.value:g}**."
    if not threshold.chosen_on:
        why = f": {as_markdown(threshold.why)}" if threshold.why else ""
        return f"{rule} That is the default; it was not chosen on patients{why}."
    if threshold.dice is None or threshold.dice_at_half is None:  # as somebody else wrote it
        return f"{rule} It was chosen on {as_markdown(threshold.chosen_on)}."
    chosen_on = as_markdown(threshold.chosen_on)
    return (
        f"{rule} Of 0.05 to 0.95 it is the nearest to {HALF} that is at most one standard error "
        f"worse than the best, in the mean Dice of {threshold.patients} patients, "
        f"{chosen_on}: {threshold.dice:.3f}, where {HALF} has "
        f"{threshold.dice_at_half:.3f}. That Dice is no score of the model: the threshold was "
        "chosen by it."
    )


def _scores(description: Description) -> str:
    scores = description.scores
    openings = "\n\n".join(
        _opening(opening, description.data) for opening in scores.get("openings", [])
    )
    if scores.get("dice") is None:
        return openings or "Nothing is recorded of it."
    interval = ""
    if scores.get("low") is not None:
        interval = f" (95 % interval {scores['low']:.3f} to {scores['high']:.3f})"
    patients = f" over {scores['patients']} patients" if scores.get("patients") else ""
    lines = [f"Mean Dice {scores['dice']:.3f}{interval}{patients}, {_measured(description)}"]
    if failed := scores.get("failed_patients"):
        lines.append(f"On {failed} of these patients it failed: their Dice is below 0.1.")
    lines.append(
        "Dice is 2 tp / (2 tp + fp + fn) over all pixels of a patient's slices at the training "
        "resolution, at threshold 0.5; 1 where there is no tumour and none is predicted."
    )
    return "\n\n".join(filter(None, [openings, *lines]))


def _opening(opening: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """What patients showed on whom the model was scored, as a table, and what to know of it."""
    who, part = "the locked patients", "who had no part in it"
    if opening.get("kind") == "locked":
        if data.get("patients_in_several_parts"):
            part = "other slices of whom may have trained it"
    else:
        who = f"the patients of another data set, {as_markdown(opening.get('name', ''))}"
    rows = [
        f"| {as_markdown(score['metric'])} | {score.get('unit') or ''} | {_figure(score, 'value')} "
        f"| {_figure(score, 'low')} to {_figure(score, 'high')} | {score.get('n') or 0:g} |"
        for score in opening["scores"]
    ]
    head = (
        f"**On {who}**, {part}, at the native resolution of the files "
        f"({as_markdown(opening.get('time', ''))}):\n\n"
        "| metric | unit | value | 95 % interval | of |\n|---|---|---|---|---|\n"
    )
    return "\n\n".join([head + "\n".join(rows), *_notes(opening)])


def _notes(opening: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the scores of an opening."""
    notes = [as_markdown(note) for note in opening.get("notes") or []]
    if reason := opening.get("reason"):
        notes.insert(
            0, f"These patients were opened before, and again because: {as_markdown(reason)}"
        )
    if bad := opening.get("bad"):
        notes.append(
            f"Patients who were left out, since their files cannot be scored: {as_markdown(bad)}."
        )
    return notes


def _figure(score: Mapping[str, Any], name: str) -> str:
    return "-" if score.get(name) is None else f"{score[name]:.3f}"


def _measured(description: Description) -> str:
    scores = description.scores
    measured = scores.get("measured")
    if measured == "in the search":
        many = f" of {scores['best_of']} trials" if "best_of" in scores else ""
        held = f"on the patients by whom it was chosen{many}: it is high partly by luck"
    elif measured == "out of fold":
        held = "each by networks that were not trained on them, at the last epoch"
    else:
        held = "that were not trained on, at the last epoch"
    if description.kind == "ensemble":
        held += ". That is of the networks one by one; of their average nothing was measured"
    if description.kind == "refit":
        of = as_markdown(scores.get("of", ""))
        held += (
            f". That is of networks of the same configuration in {of}, which were trained on "
            "fewer patients; of this network itself nothing was measured"
        )
    return f"{held}."


def _training(description: Description, config: TrialConfig) -> str:
    members = description.members
    network = "One network" if len(members) == 1 else f"{len(members)} networks, averaged"
    epochs = sorted({member.epoch for member in members})
    seeds = sorted({member.seed for member in members})
    kept = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    body = "a plain U-Net"
    if isinstance(config.model, Encoder):
        body = f"the encoder `{config.model.name}` under the decoder `{config.model.decoder}`"
    return (
        f"{network}: {body}, on squares of {config.image_size} pixels. Kept after epoch {kept} of "
        f"{config.epochs}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}. The whole "
        "configuration is in `model.json`."
    )


def _licence(description: Description) -> str:
    weights = description.weights
    use = (
        "Who may use this model depends on them, on the licence of the data and on whoever trained "
        "it: ask before you pass it on."
    )
    if not weights or weights.get("name") == "none":
        return f"None: it started from random weights. {use}"
    terms = f" {as_markdown(weights['terms'])}" if weights.get("terms") else ""
    licence = weights.get("licence") or "unknown"
    return f"{as_markdown(weights.get('name'))}, licence: **{as_markdown(licence)}**.{terms} {use}"


def _origin(description: Description) -> str:
    run = description.run
    lines = []
    if "name" in run:
        asked = f" asked: {as_markdown(run['question'])}" if run.get("question") else "."
        lines.append(f"The run {as_markdown(run['name'])} ({run.get('uid', 'no uid')}){asked}")
    if "rank" in run:
        lines.append(
            f"The configuration is number {run['rank']} of {run['configurations']} by "
            f"{run['ranked_by']}."
        )
    if versions := description.versions:
        lines.append(
            f"Trained with {', '.join(f'{name} {version}' for name, version in versions.items())}."
        )
    lines.append(f"Written {description.made}." if description.made else "")
    return "\n\n".join(filter(None, lines))


def _counted(data: Mapping[str, Any]) -> str:
    patients, slices = data.get("patients", "?"), data.get("slices", "?")
    return f"{patients} patients with {slices} slices"
