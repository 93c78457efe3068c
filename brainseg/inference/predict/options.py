"""What changes a prediction, beside its model and its input."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from brainseg.records.run import Precision


@dataclass(frozen=True, kw_only=True)
class Options:
    """How masks are made, and what is written beside them.

    Attributes:
        threshold: a probability, above which a pixel is tumour.
        flip: average over each image and its mirror image, left to right.
        largest_component: keep only the largest connected part, through all slices of a case.
        precision: in which the network computes.
    """

    threshold: float
    flip: bool = False
    largest_component: bool = False
    overlay: bool = False
    probabilities: bool = False
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"a threshold must lie between 0 and 1, got {self.threshold}; try 0.5")

    def computing_in(self, precision: Precision) -> "Options":
        return replace(self, precision=precision)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
