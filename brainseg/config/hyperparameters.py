"""What one training run is made of: every hyperparameter, one line each."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brainseg.config.distributions import (
    Above,
    Choice,
    Integers,
    LogUniform,
    Params,
    Uniform,
    Within,
)
from brainseg.config.schema import build, flatten

# A selection over families and sizes; any other encoder can be named as well.
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
class Gradual:
    """The encoder is frozen at first; its blocks thaw one by one, from the last to the first.

    Source: Howard and Ruder (2018), "Universal language model fine-tuning", section 3.3.
    """

    until: Annotated[float, Uniform(0.2, 0.8), Within(0, 1)] = 0.5  # share of the epochs


Freeze = Nothing | First | Whole | Gradual


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The U-Net of Ronneberger et al. (2015), from random weights: the report's first model."""

    width: Annotated[int, Within(1, 2048)] = 64  # channels of the top level, doubled at each below
    depth: Annotated[int, Within(1, 6)] = 4  # poolings
    dropout: Annotated[float, Uniform(0.0, 0.5), Within(0, 0.95)] = 0.1
    norm: Literal["batch", "instance", "none"] = "batch"


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder of segmentation-models-pytorch under a decoder."""

    name: Annotated[str, ENCODERS] = "resnet50"
    weights: str = (
        "imagenet"  # "none", "imagenet", "medical:<name>", a file or folder; models/weights.py
    )
    freeze: Freeze = Nothing()
    layer_decay: Annotated[float, Uniform(0.5, 1.0), Within(0.01, 1)] = (
        1.0  # factor on the learning rate from a block to the one before it (Bao et al., 2022)
    )
    decoder: Literal["unet", "unetplusplus", "manet", "fpn", "deeplabv3plus", "segformer"] = "unet"


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Weight decay decoupled from the gradient step (Loshchilov and Hutter, 2019)."""

    lr: Annotated[float, LogUniform(1e-4, 5e-3), Above(0)] = 1e-3
    weight_decay: Annotated[float, LogUniform(1e-6, 1e-1), Within(0)] = 1e-2
    beta1: Annotated[float, Uniform(0.8, 0.95), Within(0, 0.999)] = 0.9


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Weight decay, if any, as part of the gradient (Kingma and Ba, 2015)."""

    lr: Annotated[float, LogUniform(1e-4, 5e-3), Above(0)] = 1e-3
    weight_decay: Annotated[float, LogUniform(1e-7, 1e-3), Within(0)] = 0.0
    beta1: Annotated[float, Uniform(0.8, 0.95), Within(0, 0.999)] = 0.9


@dataclass(frozen=True, kw_only=True)
class Sgd:
    lr: Annotated[float, LogUniform(1e-3, 1.0), Above(0)] = 0.1
    momentum: Annotated[float, Uniform(0.8, 0.99), Within(0, 0.999)] = 0.9
    weight_decay: Annotated[float, LogUniform(1e-6, 1e-2), Within(0)] = 1e-4


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The optimizer's learning rate from the first step to the last."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The optimizer's rate, multiplied by a factor every few epochs."""

    every_epochs: Annotated[int, Integers(5, 30), Within(1)] = 10
    factor: Annotated[float, LogUniform(0.05, 0.7), Within(0, 1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up to the peak, the optimizer's rate, then half a cosine down to the floor."""

    warmup: Annotated[float, Uniform(0.0, 0.3), Within(0, 0.9)] = 0.1  # share of all steps
    floor: Annotated[float, Within(0, 1)] = 0.01  # share of the peak
    momentum_drop: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.999)] = 0.0  # at the peak


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Half a cosine up to the peak, half a one down to far below the start (Smith, Topin, 2018)."""

    warmup: Annotated[float, Uniform(0.1, 0.5), Within(0, 0.9)] = 0.3  # share of all steps
    start: Annotated[float, LogUniform(0.01, 0.5), Within(0, 1)] = 0.04  # share of the peak
    end: Annotated[float, Within(0, 1)] = 4e-6  # share of the peak
    momentum_drop: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.999)] = 0.1  # at the peak


@dataclass(frozen=True, kw_only=True)
class Triangular:
    """Cyclical learning rates of Smith (2017): from the floor to the peak and back."""

    cycle_epochs: Annotated[int, Integers(2, 20), Within(1)] = 8
    floor: Annotated[float, LogUniform(0.01, 0.5), Within(0, 1)] = 0.1  # share of the peak
    momentum_drop: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.999)] = 0.0  # at the peak


@dataclass(frozen=True, kw_only=True)
class Triangular2:
    """As triangular, but each cycle climbs half as high above the floor as the one before it."""

    cycle_epochs: Annotated[int, Integers(2, 20), Within(1)] = 8
    floor: Annotated[float, LogUniform(0.01, 0.5), Within(0, 1)] = 0.1  # share of the peak
    momentum_drop: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.999)] = 0.0  # at the peak


@dataclass(frozen=True, kw_only=True)
class ExpRange:
    """As triangular, but the height above the floor shrinks steadily, by ``gamma`` an epoch."""

    cycle_epochs: Annotated[int, Integers(2, 20), Within(1)] = 8
    floor: Annotated[float, LogUniform(0.01, 0.5), Within(0, 1)] = 0.1  # share of the peak
    gamma: Annotated[float, Uniform(0.8, 1.0), Within(0, 1)] = 0.95  # an epoch; Smith's is a step
    momentum_drop: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.999)] = 0.0  # at the peak


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
class Lovasz:
    """The Lovasz hinge of each image, a surrogate of its Jaccard index (Berman et al., 2018)."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training slice is turned, moved and scaled: as in the report."""

    rotate_degrees: Annotated[float, Uniform(0.0, 45.0), Within(0, 180)] = 15.0
    shift: Annotated[float, Uniform(0.0, 0.2), Within(0, 0.9)] = 0.05  # share of the side
    zoom: Annotated[float, Uniform(0.0, 0.3), Within(0, 0.9)] = 0.1  # scale: 1 - zoom to 1 + zoom
    hflip: Annotated[float, Uniform(0.0, 0.5), Within(0, 1)] = 0.5  # probability
    vflip: Annotated[float, Uniform(0.0, 0.5), Within(0, 1)] = 0.0  # probability
    missing: Annotated[float, Uniform(0.0, 0.3), Within(0, 1)] = 0.1  # modality dropout
    extra: Literal["none", "noise", "elastic"] = "none"  # in a fifth of the slices


Optimizer = AdamW | Adam | Sgd
ScheduleConfig = Cosine | OneCycle | Triangular | Triangular2 | ExpRange | Step | Constant
Loss = Dice | DiceBce | FocalTversky | Lovasz


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One training run. Nothing else decides its outcome but the data, the split and the code."""

    model: Encoder | Plain = Encoder()
    optimizer: Optimizer = AdamW()
    lr: Literal["given", "auto"] = "given"  # auto: a range test finds the peak, and cycles' floor
    schedule: ScheduleConfig = Cosine()
    loss: Loss = Dice()
    augment: Augmentation = Augmentation()
    normalise: Literal["patient", "image", "imagenet"] = (
        "patient"  # over whose grey levels intensity is scaled
    )
    channels: Annotated[int, Within(1, 4)] = 3  # of an image: as the files have them
    image_size: Annotated[int, Within(1, 8192)] = 256  # pixels a side
    # images a step, over all workers
    batch_size: Annotated[int, Choice(8, 16, 32), Within(1, 65536)] = 16
    epochs: Annotated[int, Integers(10, 100), Within(1)] = 30
    clip_norm: Annotated[float, Within(0)] = (
        1.0  # gradients are scaled down to this Euclidean norm; 0 leaves them alone
    )
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: as measured
    sync_batch_norm: bool = False  # batch statistics over all workers; GPUs only
    compile: bool = False  # the network by torch.compile: minutes at first, faster steps after
    seed: Annotated[int, Within(0, 2**31 - 1)] = 0
    fold: Annotated[int, Within(0)] = 0  # which fold of the split validates; 0 if it has none


def completed(params: Params) -> Params:
    """A configuration of an earlier version, with defaults for the paths that it did not have."""
    return flatten(build(TrialConfig(), params))


def configuration_name(config: TrialConfig) -> str:
    """The model in words, as tables and legends name it: `resnet50, imagenet, first 2 frozen`."""
    if isinstance(config.model, Plain):
        return f"plain U-Net, width {config.model.width}"
    model = config.model
    decoder = "" if model.decoder == "unet" else f" {model.decoder}"
    weights = {"none": "random weights"}.get(model.weights, model.weights.rsplit("/", 1)[-1])
    decay = "" if model.layer_decay == 1 else f", layer decay {model.layer_decay:.2g}"
    return f"{model.name}{decoder}, {weights}{_frozen(model.freeze)}{decay}"


def _frozen(freeze: Freeze) -> str:
    if isinstance(freeze, First):
        return f", first {freeze.blocks} frozen"
    words = {Nothing: "", Whole: ", encoder frozen", Gradual: ", gradual unfreezing"}
    return words[type(freeze)]
