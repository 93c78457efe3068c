"""Learning curves of randomly drawn configurations, for the simulator of search_efficiency.py.

Run    python -m benchmarks.record_curves --data kaggle_3m --draws 60 --pretrained mobilenet_v2.pth
Gives  runs/curves, a sweep in which every point is drawn at random and trained to its last epoch,
       none stopped; then benchmarks/curves.csv is made of it by `--collect runs/curves`.

Points come from a fixed seed, so that a longer list starts with a shorter one. Half of the points
on the encoder of ``--pretrained`` start from that file, all other encoders from random weights.
"""

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.cli.main import run
from brainseg.config.distributions import Choice, Integers, Params, RandomDraws
from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Sweep
from brainseg.records.run import Run

EPOCHS = 16
PRETRAINED = "mobilenet_v2"
SPACE = Space(
    TrialConfig(model=Plain(width=16), epochs=EPOCHS, image_size=64, batch_size=8),
    search=("model", "model.encoder.*", "optimizer.adamw.lr", "schedule", "schedule.*.cycle*"),
    narrow={
        "model.encoder.name": Choice(
            *("resnet18", "resnet34", "resnet50", "vgg16", "densenet121", "efficientnet-b0"),
            *("mobilenet_v2", "mit_b0"),
        ),
        "schedule": Choice("cosine", "onecycle", "triangular", "constant"),
        "schedule.triangular.cycle_epochs": Integers(4, 8),
    },
    fixed={"model.encoder.decoder": "unet", "model.encoder.layer_decay": 1.0},
)
WEIGHT = {"mobilenet_v2": 8, "vgg16": 1, "resnet50": 1, "densenet121": 1, "resnet34": 2}
TABLE = Path(__file__).with_name("curves.csv")


class WeightedDraws(RandomDraws):
    """Draws at random, but some models more often than others."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        options = list(choices)
        if name == "model":  # one plain U-Net among ten models, not one in two
            return self.rng.choices(options, [9 if o == "encoder" else 1 for o in options])[0]
        if name == "model.encoder.name":
            return self.rng.choices(options, [WEIGHT.get(o, 4) for o in options])[0]
        return self.rng.choice(options)


def points(draws: int, pretrained: str) -> tuple[Params, ...]:
    rng, drawn = random.Random(0), []
    for _ in range(draws):
        point = SPACE(WeightedDraws(rng))
        if point["model"] == "encoder":
            from_file = (
                pretrained and rng.random() < 0.5 and point["model.encoder.name"] == PRETRAINED
            )
            point["model.encoder.weights"] = pretrained if from_file else "none"
        drawn.append(point)
    return tuple(drawn)


def collect(folder: Path) -> None:
    """A row a trial and epoch, with what the simulator is fitted to."""
    rows: list[dict[str, Any]] = []
    finished = Run(folder)
    for record in finished.trials():
        if record.state != "done":
            continue
        params = record.params
        weights = str(params.get("model.encoder.weights", "none"))
        cycle = params.get("schedule.triangular.cycle_epochs", 0)
        for row in finished.trial(record.trial).rows():
            rows.append(
                {
                    "trial": record.trial,
                    "encoder": params.get("model.encoder.name", "plain"),
                    "pretrained": int(weights != "none"),
                    "freeze": params.get("model.encoder.freeze", "nothing"),
                    "blocks": params.get("model.encoder.freeze.first.blocks", 0),
                    "lr": f"{params['optimizer.adamw.lr']:.3g}",
                    "schedule": params["schedule"],
                    "cycle_epochs": cycle,
                    "seed": params["seed"],
                    "epoch": row.epoch,
                    "dice": round(row.dice, 4),
                    "seconds": round(row.seconds, 2),
                }
            )
    pd.DataFrame(rows).to_csv(TABLE, index=False)
    print(f"{TABLE}: {len(rows)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--pretrained", default="")
    parser.add_argument("--collect", type=Path)
    args, rest = parser.parse_known_args()
    if args.collect:
        collect(args.collect)
        return
    pretrained = str(Path(args.pretrained).resolve()) if args.pretrained else ""
    sweep = Sweep(
        name="curves",
        question="How does validation Dice grow in configurations drawn at random?",
        space=Space(SPACE.base, search=(), fixed=SPACE.fixed),
        first=points(args.draws, pretrained),
        strategy=Points(),
    )
    sys.argv[0] = "benchmarks/record_curves.py"
    run(sweep, rest)


if __name__ == "__main__":
    main()
