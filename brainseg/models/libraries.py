"""The libraries of encoders, imported when the first encoder is asked for: a U-Net needs none.

With torchvision they take 1.5 to 3 CPU-seconds, in the driver and in the process of each trial.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import segmentation_models_pytorch as smp
    import timm
else:

    class _Library:
        """Stands for a module, and imports it when one of its attributes is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    smp, timm = _Library("segmentation_models_pytorch"), _Library("timm")

__all__ = ["smp", "timm"]
