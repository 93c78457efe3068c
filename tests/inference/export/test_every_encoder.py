"""Every family of encoders, and every decoder, can be exported to every format."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest
import torch

from brainseg.config.hyperparameters import Encoder
from brainseg.inference.export.formats import GraphFormat
from brainseg.inference.export.write import export
from tests.support.encoders import ONE_A_CLASS
from tests.support.models import untrained
from tests.support.trials import TINY

torch.set_num_threads(1)
DECODERS = ("unetplusplus", "manet", "fpn", "deeplabv3plus", "segformer")
OF_TIMM = ("tu-convnext_atto", "tu-pvt_v2_b0", "tu-hrnet_w18_small")
ONE_SIZE = ("tu-swinv2_tiny_window8_256", "tu-maxvit_nano_rw_256")


@pytest.mark.every_encoder
@pytest.mark.parametrize("to", ["onnx", "torchscript"])
@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        *((name, "unet") for name in (*ONE_A_CLASS, *OF_TIMM, *ONE_SIZE)),
        *(("resnet18", decoder) for decoder in DECODERS),
    ],
)
def test_each_family_and_decoder_is_exported(
    name: str, decoder: str, to: GraphFormat, tmp_path: Path
) -> None:
    model = Encoder(name=name, weights="none", decoder=decoder)  # type: ignore[arg-type]
    network = untrained(replace(TINY, image_size=64, model=model))
    compared = export(network, tmp_path / "out", to)
    rmtree(tmp_path / "out")  # all of them together take gigabytes
    assert len(compared) == (2 if name in ONE_SIZE else 5)
    assert all(difference.is_rounding for difference in compared)
