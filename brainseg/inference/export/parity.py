"""Whether an exported file says what the model says in PyTorch.

The model is asked as in prediction: levels are counted and scaled by NumPy, on its own networks.

Shapes: B slices, C channels, H rows, W columns, N pixels a side of the training resolution.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg.data.pack.intensity import level_counts
from brainseg.data.pipeline.normalise import scaling
from brainseg.inference.model import Model
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.plan import Compute

TOLERANCE = 1e-4  # of a probability
# Networks may amplify rounding: in an inceptionv4 of random weights another order of channels in
# memory changes PyTorch's own answer by 2e-3. A file may differ by this many times as much.
TIMES_ROUNDING = 10
OTHERWISE = Compute(channels_last=not Compute().channels_last)
Levels = NDArray[np.uint8]
Runner = Callable[[Levels], NDArray[np.float32]]  # (B, C, H, W) to (B, H, W)


@dataclass(frozen=True)
class Difference:
    """How far a file is from PyTorch on one input.

    Attributes:
        input: what was shown, in words.
        shape: of the input.
        greatest: difference of probability at any pixel; NaN if either has one.
        mean: over pixels.
        changed: pixels whose mask differs at the model's threshold.
        rounding: the greatest difference of PyTorch to itself, with memory in another order.
    """

    input: str
    shape: tuple[int, ...]
    greatest: float
    mean: float
    changed: int
    rounding: float

    @property
    def is_rounding(self) -> bool:
        return self.greatest <= max(TOLERANCE, TIMES_ROUNDING * self.rounding)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def differences(
    model: Model, run: Runner, inputs: Iterable[tuple[str, Levels]], *, stride: int
) -> list[Difference]:
    """Compare what ``run`` says with what the model says, input by input."""
    on_cpu, laid_out_otherwise = _on_cpu(model, Compute()), _on_cpu(model, OTHERWISE)
    compared = []
    for words, image_BCHW in inputs:
        expected = _expected(on_cpu, image_BCHW, stride)
        again = _expected(laid_out_otherwise, image_BCHW, stride)
        actual = run(image_BCHW)
        assert actual.shape == expected.shape, f"{actual.shape} from {image_BCHW.shape}"
        distance = np.abs(actual.astype(np.float64) - expected)
        changed = (actual > model.threshold) != (expected > model.threshold)
        figures = float(distance.max()), float(distance.mean()), int(changed.sum())
        rounding = float(np.abs(again - expected).max())
        compared.append(Difference(words, image_BCHW.shape, *figures, rounding))
    return compared


def random_inputs(
    channels: int, image_size: int, stride: int, *, any_size: bool
) -> Iterator[tuple[str, Levels]]:
    """Noise in slices of several contrasts, of several batch and image sizes; one slice is black.

    With ``any_size`` some sides are no multiple of ``stride``, and one is shorter.
    """
    random = np.random.default_rng(0)
    sizes = [(1, image_size, image_size), (5, image_size, image_size)]
    if any_size:
        sizes += [(2, image_size + stride, image_size // 2), (3, image_size - 3, stride + 1)]
        sizes += [(1, max(1, stride - 3), 2 * stride)]
    for count, height, width in sizes:
        noise = random.random((count, channels, height, width))
        contrast_B = (
            np.linspace(0, 255, count + 1)[1:] if count == 1 else np.linspace(0, 255, count)
        )
        levels = (noise * contrast_B[:, None, None, None]).astype(np.uint8)
        yield "random", levels


def _on_cpu(model: Model, compute: Compute) -> Model:
    networks = [deepcopy(network) for network in model.networks]
    machine = Machine(torch.device("cpu"), compute)
    return Model(model.description, networks, model.source, machine)


def _expected(model: Model, image_BCHW: Levels, stride: int) -> NDArray[np.float32]:
    image_BHWC = np.ascontiguousarray(image_BCHW.transpose(0, 2, 3, 1))
    count, height, width, _ = image_BHWC.shape
    counts_BC256 = np.stack([level_counts(image_HWC) for image_HWC in image_BHWC])
    scaling_BC3 = scaling(counts_BC256, [""] * count, model.normalise)
    padding = ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0))
    probability_BHW = model.of_squares(np.pad(image_BHWC, padding), scaling_BC3)
    return probability_BHW[:, :height, :width]
