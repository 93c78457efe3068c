"""Slices of a patient on which a model was trained, if they are at hand.

Shapes: B slices, C channels, N pixels a side of the training resolution.
"""

from brainseg.data.readers.images import read_image
from brainseg.data.remote import local_copy
from brainseg.data.table import read_slices
from brainseg.inference.export.parity import Levels
from brainseg.inference.model import Model
from brainseg.records.cache import default_cache
from brainseg.records.run import Run

MOST = 8  # slices, from the middle of the patient


def first_patient(model: Model) -> Levels:
    """Slices (B, C, N, N) of the first patient of a model's run who is not locked.

    Raises:
        ValueError: the model has no run beside it, all of its patients are locked, or the images
            cannot be read.
    """
    run = Run(model.source)
    if not run.sweep.is_file():
        raise ValueError(f"{model.source} is no run, so that it does not say where its images are")
    source, table = run.settings()["data"], read_slices(run.slices)
    table = table[table["part"] != "test"]
    if table.empty:
        raise ValueError(f"all slices of {model.source} are locked")
    rows = table[table["patient"] == table["patient"].iloc[0]]
    start = max(0, len(rows) - MOST) // 2
    root = local_copy(source["root"], default_cache(), copy=source.get("copy", ""))
    cuts = rows.iloc[start : start + MOST][["image", "index", "axis", "orientation"]]
    images = [read_image(root, *cut) for cut in cuts.itertuples(index=False, name=None)]
    squares_BNNC = model.prepare(images).squares_SNNC
    return squares_BNNC.transpose(0, 3, 1, 2).copy()
