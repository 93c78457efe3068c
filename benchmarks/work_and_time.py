"""How well do a network's FLOPs predict its time?

Run    python -m benchmarks.work_and_time
Gives  for nine networks, the estimated over the measured CPU time of a training step; the estimate
       is a line through the networks of least and of most work. `brainseg plan` widens its range
       for models that it does not measure by this (``forecast.ESTIMATE_ERROR``).
       64 pixels, batches of 8, one thread; CPU time, so that other jobs matter less. A minute.
"""

import time

import torch

from benchmarks.freezing import stepper
from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig, configuration_name
from brainseg.models.flops import work
from brainseg.models.network import build_network
from brainseg.planning.cost_model import line_through

ENCODERS = (
    *("mit_b0", "vgg16", "mobilenet_v2", "resnet18", "efficientnet-b0", "resnet50"),
    *("densenet121", "efficientnet-b3"),
)
SIDE, IMAGES, STEPS = 64, 8, 2


def seconds(model: Encoder | Plain) -> float:
    """CPU time of a step, after one that is not counted."""
    torch.manual_seed(0)
    step = stepper(build_network(model, 3, SIDE), SIDE, IMAGES)
    step()
    start = time.process_time()
    for _ in range(STEPS):
        step()
    return (time.process_time() - start) / STEPS


def main() -> None:
    torch.set_num_threads(1)
    models = [*(Encoder(name=name, weights="none") for name in ENCODERS), Plain(width=16)]
    timed = []
    for model in models:
        needs = work(model, channels=3, image_size=SIDE, images=IMAGES, frozen=0)
        timed.append(
            (needs.step_flops, seconds(model), configuration_name(TrialConfig(model=model)))
        )
    timed.sort()
    (least, short, _), (most, long, _) = timed[0], timed[-1]
    line = line_through([least, most], [short, long])
    print("GFLOP a step  seconds  estimated / taken")
    for flops, taken, words in timed:
        print(f"{flops / 1e9:12.1f} {taken:8.3f} {line(flops) / taken:17.2f}  {words}")


if __name__ == "__main__":
    main()
