"""What happens to an image before the network, in words from which it can be written again."""

import re
from collections.abc import Sequence

from brainseg.config.hyperparameters import TrialConfig
from brainseg.data.pack.intensity import CEILING as BRIGHTEST
from brainseg.data.pipeline.normalise import (
    BACKGROUND,
    CEILING,
    IMAGENET_MEAN,
    IMAGENET_STD,
)
from brainseg.process import plain

STEPS = """\
{channels}

1. **8 bits.** An image of 8 bits stays as it is. Any other is mapped linearly, for each patient and
   channel over all of the patient's slices: 0, or the lowest intensity where that is negative,
   becomes 0, the {brightest}th percentile of all pixels becomes 255; what is beyond is clipped and
   the result rounded. A few voxels far from all others, and padding of one value, do not count.
2. **Square.** Each slice is padded with 0 to a centred square of its longer side (of an odd
   difference the larger part follows) and resized to {size} x {size} pixels: OpenCV's `INTER_AREA`
   where it shrinks, `INTER_LINEAR` else.
3. **Levels.** {levels}

The way back: the probabilities are resized to the square's first side in the same way, and the
padding is cut off. No spacing or orientation is assumed, and slices are seen one by one.\
"""
FOREGROUND = (
    "For each channel of {group}: levels up to {background} times the 99th percentile of all "
    "levels above 0 are background; the ceiling is the {ceiling} quantile of the rest, mean and "
    "standard deviation (at least 1) are those of the rest cut at the ceiling. The network sees "
    "(min(level, ceiling) - mean) / deviation."
)


def preprocessing(config: TrialConfig, channels: Sequence[str]) -> str:
    """The steps from an array to the network's input."""
    named = len(channels) == config.channels
    names = ", ".join(
        f"{number} {as_markdown(name)}" for number, name in enumerate(channels, start=1)
    )
    count = f"{config.channels} channel{'s' * (config.channels > 1)}"
    order = f"in this order: {names}" if named else "whose names are not recorded"
    return STEPS.format(
        channels=f"An image has {count}, {order}.",
        brightest=BRIGHTEST,
        size=config.image_size,
        levels=_levels(config.normalise),
    )


def _levels(how: str) -> str:
    if how == "imagenet":
        return (
            f"The network sees (level / 255 - mean) / deviation with the means {IMAGENET_MEAN} and "
            f"the deviations {IMAGENET_STD} of ImageNet; levels above 255 do not occur."
        )
    group = "a patient, over all slices" if how == "patient" else "a slice alone"
    return FOREGROUND.format(group=group, background=BACKGROUND, ceiling=CEILING)


def as_markdown(value: object) -> str:
    """A name or a sentence of somebody else on one line, without what Markdown would obey."""
    text = plain(" ".join(str(value).split())).replace("<", "&lt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", text)
