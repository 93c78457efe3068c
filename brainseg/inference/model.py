"""A trained model at work: a patient's slices in, the probability of tumour out.

The way in is that of training: intensities to 8 bits by the patient (data/pack/intensity.py), a
square of the training resolution, levels scaled by the patient (data/pipeline/normalise.py). The
way back undoes the square.

Shapes: S slices of a patient, H rows, W columns, C channels, N pixels a side in the network.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainseg.data.pack.intensity import intensity_range, level_counts, to_bytes
from brainseg.data.pack.square import from_square, to_square
from brainseg.data.pipeline.normalise import scaling
from brainseg.data.readers.images import single_threaded
from brainseg.inference.description import Description
from brainseg.inference.postprocess import largest_component as only_largest
from brainseg.models.network import Network
from brainseg.training.compute.machine import Machine

BATCH = 16  # slices that go through the network together

Images = Sequence[NDArray[Any]]  # (H, W, C) each, of one number type, sizes may differ
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """A patient's slices as a network takes them.

    Attributes:
        squares_SNNC: uint8.
        scaling_SC3: see ``normalise.scaling``.
        sizes: rows and columns of each slice as it came.
    """

    squares_SNNC: NDArray[np.uint8]
    scaling_SC3: NDArray[np.float32]
    sizes: tuple[tuple[int, int], ...]


class Model:
    """Networks whose probabilities are averaged, and all that is needed to ask them.

    Attributes:
        description: what it is, see ``Description``.
        source: the folder that it was loaded from.
    """

    def __init__(
        self,
        description: Description,
        networks: Sequence[Network],
        source: Path,
        machine: Machine | None = None,
    ) -> None:
        self.description, self.source = description, source
        self.networks = list(networks)
        self.compute_on(machine or Machine(_device()))
        config = description.trial_config
        self.channels, self.image_size, self.normalise = (
            config.channels,
            config.image_size,
            config.normalise,
        )

    def compute_on(self, machine: Machine) -> None:
        """Compute on another device, or in another way."""
        self.machine = machine
        for network in self.networks:
            network.to(machine.device).lay_out(machine.memory_format).eval()

    def __repr__(self) -> str:
        described, count = self.description, len(self.networks)
        networks = "1 network" if count == 1 else f"{count} networks"
        channels = ", ".join(described.channels) or str(self.channels)
        return (
            f"<Model {described.name!r}: {described.kind} of {networks}, channels {channels}, "
            f"{self.image_size} pixels, threshold {self.threshold:g}, {self.machine.device}>"
        )

    def digest(self) -> str:
        """The SHA-256 of all tensors: of equal weights it is the same from any file."""
        digest = hashlib.sha256()
        for network in self.networks:
            for name, tensor in network.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def threshold(self) -> float:
        """Above which probability a pixel is tumour, unless a caller says otherwise."""
        return self.description.threshold.value

    def predict(
        self,
        image: NDArray[Any],
        *,
        threshold: float | None = None,
        flip: bool = False,
        largest_component: bool = False,
    ) -> NDArray[np.uint8]:
        """The mask of one slice, or of all slices of one patient: 1 is tumour, 0 is not.

        Args:
            image: integers or floating point. (H, W, C) or (S, H, W, C), channels in the order of
                ``description.channels``; with one channel also (H, W) or (S, H, W). Give a
                patient's slices at once: their intensities are scaled together. uint8 is taken as
                it is, 0 black and 255 white; any other type has no fixed scale.
            threshold: a probability between 0 and 1; None: the model's.
            flip: average over the image and its mirror image, left to right.
            largest_component: keep only the largest connected part, through all slices.

        Returns:
            uint8, of the shape of ``image`` without channels.

        Raises:
            ValueError: another number of axes or channels, no pixel, a number that is not finite,
                or a threshold outside 0 to 1.
        """
        threshold = self.threshold if threshold is None else threshold
        if not 0 < threshold < 1:
            raise ValueError(f"a threshold must lie between 0 and 1, got {threshold}; try 0.5")
        mask = (self.probabilities(image, flip=flip) > threshold).astype(np.uint8)
        return only_largest(mask) if largest_component else mask

    def probabilities(self, image: NDArray[Any], *, flip: bool = False) -> Probabilities:
        """As ``predict``, but each pixel's probability of tumour, float32 from 0 to 1."""
        images_SHWC, is_one = self._slices(image)
        probabilities = np.stack(self.of_slices(list(images_SHWC), flip=flip))
        return probabilities[0] if is_one else probabilities

    def of_slices(self, images: Images, *, flip: bool = False) -> list[Probabilities]:
        """The probabilities (H, W) of a patient's slices, each of its own size."""
        prepared = self.prepare(images)
        squares_SNN = self.of_squares(prepared.squares_SNNC, prepared.scaling_SC3, flip=flip)
        return [
            from_square(square_NN, *size)
            for square_NN, size in zip(squares_SNN, prepared.sizes, strict=True)
        ]

    def prepare(self, images: Images) -> Prepared:
        """A patient's slices as the network takes them, the same as in training."""
        range_C2 = intensity_range(images)
        with single_threaded():
            squares = [
                to_square(to_bytes(image_HWC, range_C2), self.image_size).reshape(
                    self.image_size, self.image_size, -1
                )
                for image_HWC in images
            ]
        counts_SC256 = np.stack([level_counts(square_NNC) for square_NNC in squares])
        scaling_SC3 = scaling(counts_SC256, ["" for _ in images], self.normalise)
        sizes = tuple((image_HWC.shape[0], image_HWC.shape[1]) for image_HWC in images)
        return Prepared(np.stack(squares), scaling_SC3, sizes)

    @torch.inference_mode()
    def of_squares(
        self,
        squares_SNNC: NDArray[np.uint8],
        scaling_SC3: NDArray[np.float32],
        *,
        flip: bool = False,
        batch: int = BATCH,
    ) -> Probabilities:
        """Probabilities (S, N, N) of slices of one patient or of many, ``batch`` at a time."""
        parts = []
        for start in range(0, len(squares_SNNC), batch):
            taken = slice(start, start + batch)
            image_BCNN = torch.from_numpy(squares_SNNC[taken]).permute(0, 3, 1, 2)
            scaling_BC3 = torch.from_numpy(scaling_SC3[taken])
            on_device = self.machine.to_device(image_BCNN), self.machine.to_device(scaling_BC3)
            parts.append(self._of_batch(*on_device, flip=flip).cpu())
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    def _of_batch(self, image_BCNN: Tensor, scaling_BC3: Tensor, *, flip: bool) -> Tensor:
        sides = (False, True) if flip else (False,)
        total = torch.zeros(1, device=image_BCNN.device)
        for network in self.networks:
            for mirrored in sides:
                shown_BCNN = image_BCNN.flip(3) if mirrored else image_BCNN
                with self.machine.cast():
                    logits_BNN = network(shown_BCNN, scaling_BC3)
                probability_BNN = logits_BNN.float().sigmoid()
                total = total + (probability_BNN.flip(2) if mirrored else probability_BNN)
        return total / (len(self.networks) * len(sides))

    def _slices(self, image: NDArray[Any]) -> tuple[NDArray[Any], bool]:
        """As (S, H, W, C), and whether it was one slice.

        Raises:
            ValueError: as ``predict``.
        """
        image = np.asarray(image)
        given = image.shape
        if self.channels == 1 and image.shape[-1:] != (1,):
            image = image[..., None]
        is_one = image.ndim == 3
        slices = image[None] if is_one else image
        if slices.ndim != 4 or slices.shape[-1] != self.channels or not slices.size:
            names = ", ".join(self.description.channels)
            raise ValueError(
                f"an image for this model must be (H, W, {self.channels}) or "
                f"(S, H, W, {self.channels}){f', channels {names}' if names else ''}, got "
                f"{given}; put the channels last"
            )
        if slices.dtype.kind not in "uif":
            raise ValueError(
                f"an image must hold integers or floating point, this one is {slices.dtype}; "
                "convert it, as with image.astype(np.float32)"
            )
        if not np.isfinite(slices).all():
            count = int((~np.isfinite(slices)).sum())
            raise ValueError(
                f"an image must hold finite numbers, {count} of this one are NaN or infinite; "
                "write 0 where nothing was measured"
            )
        if slices.dtype.kind == "f" and slices.dtype not in (np.float32, np.float64):
            slices = slices.astype(np.float32 if slices.dtype.itemsize < 4 else np.float64)
        return slices, is_one


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
