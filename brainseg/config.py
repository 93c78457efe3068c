"""What one training run is made of: every hyperparameter, one line each."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brainseg.space import Above, Choice, Integers, LogUniform, Uniform, Within

# A selection that spans the families and the sizes; any other encoder can be named as well.
ENCODERS = Choice(
    "vgg16",
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "efficientnet-b0",
    "efficientnet-b3",
    "mobilenet_v2",
    "mit_b0",
    "mit_b2",
)


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """All of the encoder is trained."""


@dataclass(frozen=True, kw_only=True)
class First:
    """The encoder's first blocks stay as they were loaded."""

    blocks: Annotated[int, Integers(1, 4), Within(1)] = 2


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The whole encoder stays as it was loaded; the decoder alone is trained."""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The U-Net of Ronneberger et al. (2015), from random weights: the report's first model."""

    width: Annotated[int, Within(1)] = 64  # channels of the top level, doubled at each below
    depth: Annotated[int, Within(1, 6)] = 4  # poolings
    dropout: Annotated[float, Uniform(0.0, 0.5), Within(0, 0.95)] = 0.1
    norm: Literal["batch", "none"] = "batch"


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder of segmentation-models-pytorch under a decoder."""

    name: Annotated[str, ENCODERS] = "resnet50"
    weights: str = "imagenet"  # "none", "imagenet", or a file that holds a state dict
    freeze: Nothing | First | Whole = Nothing()
    decoder: Literal["unet", "unetplusplus", "manet", "fpn"] = "unet"


@dataclass(frozen=True, kw_only=True)
class AdamW:
    lr: Annotated[float, LogUniform(1e-4, 5e-3), Above(0)] = 1e-3
    weight_decay: Annotated[float, LogUniform(1e-6, 1e-1), Within(0)] = 1e-2


@dataclass(frozen=True, kw_only=True)
class Sgd:
    lr: Annotated[float, LogUniform(1e-3, 1.0), Above(0)] = 0.1
    momentum: Annotated[float, Uniform(0.8, 0.99), Within(0, 0.999)] = 0.9
    weight_decay: Annotated[float, LogUniform(1e-6, 1e-2), Within(0)] = 1e-4


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The optimizer's learning rate from the first step to the last."""


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up to the peak, the optimizer's rate, then half a cosine down to the floor."""

    warmup: Annotated[float, Uniform(0.0, 0.3), Within(0, 0.9)] = 0.1  # share of all steps
    floor: Annotated[float, Within(0, 1)] = 0.01  # share of the peak


@dataclass(frozen=True, kw_only=True)
class Triangular:
    """Cyclical learning rates of Smith (2017): from the floor to the peak and back."""

    cycles: Annotated[int, Integers(1, 8), Within(1)] = 4
    floor: Annotated[float, LogUniform(0.01, 0.5), Within(0, 1)] = 0.1  # share of the peak


@dataclass(frozen=True, kw_only=True)
class Dice:
    """1 - soft Dice over the batch: the report's loss."""

    smooth: Annotated[float, Above(0)] = 1.0  # pixels; gives an empty batch a gradient


@dataclass(frozen=True, kw_only=True)
class DiceBce:
    """A weighted mean of the Dice loss and the binary cross-entropy."""

    dice_weight: Annotated[float, Uniform(0.0, 1.0), Within(0, 1)] = 0.5
    smooth: Annotated[float, Above(0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class FocalTversky:
    """(1 - Tversky index) ** gamma, after Abraham and Khan (2019)."""

    beta: Annotated[float, Uniform(0.5, 0.9), Within(0, 1)] = 0.7  # weight of misses
    gamma: Annotated[float, Uniform(0.5, 2.0), Above(0)] = 0.75
    smooth: Annotated[float, Above(0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training slice is turned, moved and scaled; the report's, with a vertical flip."""

    rotate_degrees: Annotated[float, Uniform(0.0, 45.0), Within(0, 180)] = 15.0
    shift: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.9)] = 0.05  # share of the side
    zoom: Annotated[float, Uniform(0.0, 0.3), Within(0, 0.9)] = 0.1  # scale: 1 - zoom to 1 + zoom
    hflip: Annotated[float, Uniform(0.0, 0.5), Within(0, 1)] = 0.5  # probability
    vflip: Annotated[float, Uniform(0.0, 0.5), Within(0, 1)] = 0.0  # probability
    missing: Annotated[float, Uniform(0.0, 0.3), Within(0, 1)] = 0.1  # a sequence shows FLAIR


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One training run. Nothing else decides its outcome but the data, the split and the code."""

    model: Encoder | Plain = Encoder()
    optimizer: AdamW | Sgd = AdamW()
    schedule: Cosine | Triangular | Constant = Cosine()
    loss: Dice | DiceBce | FocalTversky = Dice()
    augment: Augmentation = Augmentation()
    normalise: Literal["patient", "image", "imagenet"] = (
        "patient"  # whose grey levels set the scale
    )
    channels: Annotated[int, Within(1, 4)] = 3  # of an image: as the files have them
    image_size: Annotated[int, Within(1)] = 256  # pixels a side
    batch_size: Annotated[int, Choice(8, 16, 32), Within(1)] = 16  # images a step, all workers
    epochs: Annotated[int, Integers(10, 100), Within(1)] = 30
    clip_norm: Annotated[float, Within(0)] = (
        1.0  # gradients are scaled down to this Euclidean norm; 0 leaves them alone
    )
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 if in hardware
    sync_batch_norm: bool = False  # batch statistics over all workers; GPUs only
    seed: Annotated[int, Within(0, 2**31 - 1)] = 0


def arm(config: TrialConfig) -> str:
    """The model in words, as tables and legends name it: `resnet50, imagenet, first 2 frozen`."""
    if isinstance(config.model, Plain):
        return f"plain U-Net, width {config.model.width}"
    model = config.model
    frozen = {
        Nothing: "",
        First: f", first {getattr(model.freeze, 'blocks', 0)} frozen",
        Whole: ", encoder frozen",
    }[type(model.freeze)]
    decoder = "" if model.decoder == "unet" else f" {model.decoder}"
    weights = {"none": "random weights"}.get(model.weights, model.weights.rsplit("/", 1)[-1])
    return f"{model.name}{decoder}, {weights}{frozen}"
