"""Which encoders there are."""

import segmentation_models_pytorch as smp
import timm

from brainseg.space import did_you_mean


def catalogue() -> list[str]:
    """The names of all encoders of segmentation-models-pytorch; timm's add a `tu-` before."""
    return sorted(smp.encoders.encoders)


def require_known(name: str) -> None:
    """Refuse an encoder that does not exist, with the names that are close.

    Raises:
        ValueError: neither segmentation-models-pytorch nor timm knows ``name``.
    """
    known = catalogue()
    if name in known or (name.startswith("tu-") and timm.is_model(name[3:].split(".")[0])):
        return
    if name.startswith("tu-"):
        known = [f"tu-{model}" for model in timm.list_models()]
    raise ValueError(f"there is no encoder {name!r}{did_you_mean(name, known)}")
