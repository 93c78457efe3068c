"""How fast do images become masks, against the loop over files that a user would write?

Run    python -m benchmarks.predict [--quick]
Gives  for each network and size: how many times as fast as a plain loop over files `predict` is, on
       the clock and in CPU time; and how a batch in memory compares with plain PyTorch on tensors
       that are ready. Five minutes on two idle cores.

The plain loop is eager float32 of segmentation-models-pytorch in eval mode: for each patient it
reads the slices with cv2, scales their levels by the patient's mean, deviation and ceiling, then
resizes one image after the other, predicts it, resizes the probabilities back and writes the mask.
Ours does all that `brainseg predict` does, its records included, in the precision and layout that
it chooses. Both read the same made-up PNG files and take turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from benchmarks.claims import Claim, ratios, taking_turns
from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.config.schema import flatten
from brainseg.data.formats.for_model import find_images
from brainseg.data.phantom import write_phantoms
from brainseg.inference.description import Description, Member
from brainseg.inference.model import BATCH, Model
from brainseg.inference.predict.options import Options
from brainseg.inference.predict.precision import set_precision
from brainseg.inference.predict.work import Work
from brainseg.models.network import build_network

NETWORKS, SIDES = ("mobilenet_v2", "resnet50"), (128, 256)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PATIENTS, SLICES, SIDE = 4, 16, 256  # of the files
CEILING, HALF = 99.5, 0.5
PLAIN, OURS = "plain", "ours"


@dataclass(frozen=True)
class Turns:
    """Seconds of each, round by round."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]


def model_of(name: str, side: int) -> Model:
    """A model of random weights."""
    config = TrialConfig(model=Encoder(name=name, weights="none"), image_size=side)
    description = Description(
        name=name,
        kind="trial",
        config=flatten(config),
        members=(Member(trial="0000", seed=0, fold=-1, epoch=1),),
    )
    network = build_network(config.model, config.channels, side)
    return Model(description, [network], Path("made-up"))


def plain_network(name: str) -> nn.Module:
    return smp.Unet(name, encoder_weights=None).to(DEVICE).eval()


def plain_loop(network: nn.Module, data: Path, side: int, out: Path) -> None:
    """One image at a time, all of a patient's read before for the scale they share."""
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        paths = sorted(p for p in folder.iterdir() if not p.stem.endswith("_mask"))
        images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
        pixels = np.concatenate([image.reshape(-1, 3) for image in images])
        inside = pixels[pixels.max(axis=1) > 0].astype(np.float32)
        ceiling = np.percentile(inside, CEILING, axis=0).astype(np.float32)
        inside = np.minimum(inside, ceiling)
        mean, deviation = inside.mean(axis=0), inside.std(axis=0)
        (out / folder.name).mkdir(parents=True, exist_ok=True)
        for path, image in zip(paths, images, strict=True):
            resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            scaled = (np.minimum(resized.astype(np.float32), ceiling) - mean) / deviation
            tensor = torch.from_numpy(scaled.transpose(2, 0, 1).copy())[None].to(DEVICE)
            with torch.no_grad():
                probability = torch.sigmoid(network(tensor))[0, 0].cpu().numpy()
            probability = cv2.resize(probability, image.shape[1::-1])
            mask = (probability > HALF).astype(np.uint8) * 255
            cv2.imwrite(str(out / folder.name / f"{path.stem}.png"), mask)


def ours(model: Model, data: Path, out: Path) -> None:
    """All that the command does."""
    work = Work(model, find_images([data], model.channels), out, Options(threshold=HALF), "bench")
    work.record.begin(work.by_case, overwrite=False)
    done = list(work.run())
    assert not any(case.problem for case in done) and len(done) == PATIENTS


def timed(works: dict[str, Callable[[], object]], rounds: int) -> Turns:
    """A round to warm up, then those that count."""
    cpu: dict[str, list[float]] = {name: [] for name in works}

    def with_cpu(name: str) -> Callable[[], None]:
        def work() -> None:
            before = time.process_time()
            works[name]()
            cpu[name].append(time.process_time() - before)

        return work

    for work in works.values():
        work()
    wall = taking_turns({name: with_cpu(name) for name in works}, rounds)
    return Turns(wall, cpu)


def of_files(name: str, side: int, data: Path, scratch: Path, rounds: int) -> list[Claim]:
    model, network = model_of(name, side), plain_network(name)
    set_precision(model, "auto")
    outs = (scratch / f"{kind}-{name}-{side}" / str(k) for k in range(99) for kind in ("a", "b"))
    works = {
        PLAIN: lambda: plain_loop(network, data, side, next(outs)),
        OURS: lambda: ours(model, data, _made(next(outs))),
    }
    took = timed(works, rounds)
    what = f"masks from files of {SIDE} px, {name}, {side} px"
    against = "a plain loop, float32, one image a time"
    claims = []
    for clock, seconds in (("", took.wall), (", CPU time", took.cpu)):
        values = ratios(seconds[PLAIN], seconds[OURS])
        limit = None if clock else 2.0
        claims.append(Claim(what=what + clock, values=values, baseline=against, limit=limit))
    return claims


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def of_batch(name: str, side: int, rounds: int) -> list[Claim]:
    """A batch of uint8 in memory against float tensors that are ready."""
    model, network = model_of(name, side), plain_network(name)
    set_precision(model, "auto")
    numbers = np.random.default_rng(0)
    squares = numbers.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    scaling = np.tile(np.array([255, 128, 64], np.float32), (BATCH, 3, 1))
    ready_BCNN = torch.randn(BATCH, 3, side, side, device=DEVICE)

    def plain() -> Tensor:
        with torch.no_grad():
            return torch.sigmoid(network(ready_BCNN)).cpu()

    took = timed({PLAIN: plain, OURS: lambda: model.of_squares(squares, scaling)}, rounds)
    what = f"probabilities of {BATCH} images in memory, {name}, {side} px"
    against = "plain PyTorch on float tensors that are ready"
    return [
        Claim(
            what=what + clock,
            values=ratios(seconds[PLAIN], seconds[OURS]),
            baseline=against,
            limit=None if clock else 1.0,
        )
        for clock, seconds in (("", took.wall), (", CPU time", took.cpu))
    ]


def claims(quick: bool) -> list[Claim]:
    """Of both networks at both sizes; quick: of the small one at the small size."""
    names, sides, rounds = (NETWORKS[:1], SIDES[:1], 3) if quick else (NETWORKS, SIDES, 5)
    measured: list[Claim] = []
    with tempfile.TemporaryDirectory(prefix="brainseg-bench-") as folder:
        scratch = Path(folder)
        data = write_phantoms(scratch / "data", patients=PATIENTS, slices=SLICES, size=SIDE)
        for name in names:
            for side in sides:
                measured += of_files(name, side, data, scratch, rounds)
                measured += of_batch(name, side, rounds)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    for claim in claims(parser.parse_args().quick):
        print(claim, flush=True)


if __name__ == "__main__":
    main()
