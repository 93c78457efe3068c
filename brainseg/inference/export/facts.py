"""What goes with an exported graph: facts for programs, and how to call it for people."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from brainseg.inference.card import card
from brainseg.inference.description import CLASSES
from brainseg.inference.export.formats import FACTS, FILES, NAMES, GraphFormat
from brainseg.inference.export.graph import Graph
from brainseg.inference.export.parity import Difference
from brainseg.inference.model import Model
from brainseg.inference.preprocessing import preprocessing

TOGETHER = {  # what normalise makes of a batch
    "patient": "The slices of one call must be of one patient: their levels are scaled together.",
    "image": "Each slice is scaled by its own levels.",
    "imagenet": "Levels are scaled by the statistics of ImageNet.",
}
CALLS: dict[GraphFormat, str] = {
    "onnx": """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(probability,) = session.run(["probability"], {"image": image})""",
    "torchscript": """\
import torch

model = torch.jit.load("model.pt", map_location="cpu")
with torch.inference_mode():
    probability = model(torch.from_numpy(image)).numpy()""",
}
TEXT = """\
{file} is the model as {format}: a program needs neither brainseg nor its settings.

```python
{call}
mask = probability > {threshold}
```

- `image`: uint8, shape (slices, {channels}, height, width). {together}
- `probability`: float32, shape (slices, height, width), that a pixel is {tumour}.
- Any number of slices a call. {sizes}
- Of the steps under "Images and preprocessing" the third is inside the graph, the first two and the
  way back are not: take slices to {image_size} x {image_size} pixels as they say, since the model
  was trained on that size.
- `{facts}` says this to programs, and so does {file} itself.

Compared with PyTorch, difference of probability:

| input | shape | greatest | mean | pixels whose mask differs |
| --- | --- | --- | --- | --- |
{rows}\
"""


def facts_of(model: Model, graph: Graph, to: GraphFormat) -> dict[str, Any]:
    """What a program must know to call the graph; also within the file."""
    height, width = (graph.only_size, graph.only_size) if graph.only_size else ("height", "width")
    described = model.description
    return {
        "name": described.name,
        "description": "brain tumour segmentation by brainseg. Not a medical device.",
        "format": to,
        "file": FILES[to],
        "input": {
            "name": "image",
            "type": "uint8",
            "shape": ["slices", model.channels, height, width],
        },
        "output": {"name": "probability", "type": "float32", "shape": ["slices", height, width]},
        "channels": list(described.channels),
        "classes": dict(enumerate(CLASSES)),
        "threshold": model.threshold,
        "image_size": model.image_size,
        "normalise": model.normalise,
        "preprocessing": preprocessing(described.trial_config, described.channels),
        "kind": described.kind,
        "members": len(model.networks),
        "run": dict(described.run),
        "versions": {name: version(name) for name in ("brainseg", "torch")},
    }


def readme(model: Model, graph: Graph, to: GraphFormat, compared: Sequence[Difference]) -> str:
    """The model card, with how to call the graph."""
    size = graph.only_size
    any_size = f"Slices of any size: padded inside to a multiple of {graph.stride}, and cropped."
    use = TEXT.format(
        format=NAMES[to],
        file=FILES[to],
        call=CALLS[to],
        threshold=model.threshold,
        channels=model.channels,
        together=TOGETHER[model.normalise],
        tumour=CLASSES[1],
        sizes=f"Slices of {size} x {size}, and of no other size." if size else any_size,
        image_size=model.image_size,
        facts=FACTS,
        rows="\n".join(map(_row, compared)),
    )
    return card(model.description, use)


def _row(difference: Difference) -> str:
    shape = " x ".join(map(str, difference.shape))
    figures = f"{difference.greatest:.1e} | {difference.mean:.1e} | {difference.changed}"
    return f"| {difference.input} | {shape} | {figures} |"
