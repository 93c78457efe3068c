"""Every validation slice scored exactly once, over all ranks.

Shapes: S validation slices, B of them shown, H rows, W columns.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from brainseg.evaluation.metrics import Counts, patient_table, summary
from brainseg.models.network import Network
from brainseg.training.compute.compiled import compile_seconds
from brainseg.training.compute.machine import Machine
from brainseg.training.distributed import Ranks
from brainseg.training.guards.finite import REMEDY
from brainseg.training.loop import Scores, score_epoch
from brainseg.training.losses import Loss
from brainseg.training.task import TrialFailed
from brainseg.training.trial_data import TrialData


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What one validation found."""

    loss: float
    shown_BHW: NDArray[np.uint8]  # predictions of the slices that are shown
    counts_S3: Counts  # true positive, false positive, false negative pixels of each slice
    patients: list[str]  # of each slice
    milliseconds_per_image: float  # on one device

    def scores(self) -> dict[str, Any]:
        """All that it measured by the names of the columns of an ``EpochRow``."""
        return {
            "val_loss": self.loss,
            **summary(self.counts_S3, self.patients),
            "milliseconds_per_image": self.milliseconds_per_image,
        }

    def patient_table(self) -> pd.DataFrame:
        """Counts and scores of each validation patient."""
        return patient_table(self.counts_S3, self.patients)


def validate(
    network: Network, data: TrialData, loss: Loss, machine: Machine, ranks: Ranks
) -> Validation:
    """Score the network; every rank returns the same but for its own speed.

    Raises:
        TrialFailed: some predictions, or the loss, are NaN or infinite: they are no score.
    """
    machine.wait()
    start = time.monotonic() - compile_seconds()
    shown = data.shown_rows.tolist()
    with closing(data.validation_batches(ranks)) as batches:
        share = score_epoch(
            network, batches, loss, machine, scaling_NC3=data.scaling_NC3, shown=set(shown)
        )
    machine.wait()
    seconds = (time.monotonic() - compile_seconds() - start) / max(int(share.visits_S.sum()), 1)
    rows = data.validation_rows
    visits_S = ranks.all_reduce(share.visits_S)[torch.as_tensor(rows)]
    assert (visits_S == 1).all(), "every validation slice is scored exactly once"
    counts_S3 = ranks.all_reduce(share.counts_S3).cpu().numpy()
    mean_loss = loss.of(ranks.all_reduce(share.sums)).item()
    broken = ranks.all_reduce(share.broken_S).nonzero().flatten().tolist()
    if broken:
        raise TrialFailed(
            f"predictions on {len(broken)} of {len(rows)} validation slices are NaN or infinite, "
            f"the first on {data.name(broken[0])}; {REMEDY}"
        )
    if not isfinite(mean_loss):
        raise TrialFailed(f"the validation loss became {mean_loss}; {REMEDY}")
    return Validation(
        loss=mean_loss,
        shown_BHW=_shown(share, shown, data, ranks),
        counts_S3=counts_S3[rows],
        patients=[data.patients[row] for row in rows],
        milliseconds_per_image=1000 * seconds,
    )


def _shown(share: Scores, rows: list[int], data: TrialData, ranks: Ranks) -> NDArray[np.uint8]:
    """The predictions of the slices ``rows``, each from the rank that scored it."""
    shape = (len(rows), *data.pack.masks_NHW.shape[1:])
    shown_BHW = torch.zeros(shape, dtype=torch.uint8, device=data.machine.device)
    for place, row in enumerate(rows):
        if row in share.shown:
            shown_BHW[place] = share.shown[row]
    return ranks.all_reduce(shown_BHW).cpu().numpy()
