"""Does `brainseg plan` predict what a sweep then takes?

Run    python -m benchmarks.plan_accuracy [--epochs 3] [--image-size 64] [--measure 2]
Gives  for each arm of a small sweep over made-up patients: device-seconds predicted, measured by
       the ledger, and their ratio; then the same in sum. Five minutes on two cores.

Whatever else keeps the machine busy slows the plan and the sweep by different shares.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from brainseg.config import Augmentation, TrialConfig, arm
from brainseg.launch import Job, run_sweep
from brainseg.ledger import ledger
from brainseg.phantom import write_phantoms
from brainseg.plan import plan
from brainseg.space import Params, Space
from brainseg.sweep import Points, Sweep

ARMS: tuple[Params, ...] = (
    {"model": "plain", "model.plain.width": 16},
    {"model.encoder.name": "mobilenet_v2"},
    {"model.encoder.name": "resnet18"},
    {"model.encoder.name": "resnet34", "model.encoder.freeze": "first"},
)


def small_sweep(image_size: int, epochs: int) -> Sweep:
    base = TrialConfig(
        image_size=image_size, batch_size=8, epochs=epochs, augment=Augmentation(missing=0.0)
    )
    return Sweep(
        name="accuracy",
        question="Does the plan hold?",
        space=Space(base, search=(), fixed={"model.encoder.weights": "none"}),
        first=ARMS,
        strategy=Points(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--measure", type=int, default=2)
    args = parser.parse_args()
    sweep = small_sweep(args.image_size, args.epochs)
    with TemporaryDirectory(prefix="brainseg-") as folder:
        data = write_phantoms(
            Path(folder) / "phantoms", patients=16, slices=12, size=args.image_size, seed=0
        )
        job = Job(data=str(data), storage=Path(folder) / "runs", wandb="off", made_up=True)
        found = plan(sweep, job, measure=args.measure)
        spent = ledger(run_sweep(sweep, job)).trials.set_index("arm")
    print(f"{'arm':48s} {'predicted':>10s} {'measured':>10s}  ratio   (device-seconds)")
    for point, one in zip(sweep.first, found.arms, strict=True):
        predicted = one.start_seconds + args.epochs * one.epoch_seconds
        measured = spent.loc[arm(sweep.space.config(point)), "total"]
        kind, ratio = "measured" if one.measured else "reckoned", predicted / measured
        print(f"{one.name:48s} {predicted:10.1f} {measured:10.1f}  {ratio:.2f}   {kind}")
    total, whole = found.device_seconds, spent["total"].sum()
    print(f"{'sum':48s} {total.high:10.1f} {whole:10.1f}  {total.high / whole:.2f}")


if __name__ == "__main__":
    main()
