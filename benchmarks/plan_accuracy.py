"""Does `brainseg plan` predict what a sweep then takes?

Run    python -m benchmarks.plan_accuracy [--epochs 2] [--image-size 64] [--measure 2]
Gives  for each configuration of a small sweep over made-up patients: device-seconds that a plan
       before the sweep and one after it predict, what it then cost, and the ratios; then
       the sums. Five minutes on two cores.

Whatever else keeps the machine busy slows plans and sweep by different shares: where the two plans
disagree, the machine was not the same to both, and the ratios say little.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from brainseg.analysis.cost_summary import summarise_costs
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import Augmentation, TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Sweep
from brainseg.data.phantom import write_phantoms
from brainseg.launch.job import Job
from brainseg.launch.run import run_sweep
from brainseg.planning.forecast import ConfigurationCost
from brainseg.planning.plan import plan

CONFIGURATIONS: tuple[Params, ...] = (
    {"model": "plain", "model.plain.width": 16},
    {"model.encoder.name": "mobilenet_v2"},
    {"model.encoder.name": "resnet18"},
)


def small_sweep(image_size: int, epochs: int) -> Sweep:
    base = TrialConfig(
        image_size=image_size, batch_size=8, epochs=epochs, augment=Augmentation(missing=0.0)
    )
    return Sweep(
        name="accuracy",
        question="Does the plan hold?",
        space=Space(base, search=(), fixed={"model.encoder.weights": "none"}),
        first=CONFIGURATIONS,
        strategy=Points(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--measure", type=int, default=2)
    args = parser.parse_args()
    sweep = small_sweep(args.image_size, args.epochs)
    with TemporaryDirectory(prefix="brainseg-") as folder:
        data = write_phantoms(
            Path(folder) / "phantoms", patients=12, slices=10, size=args.image_size, seed=0
        )
        job = Job(data=str(data), storage=Path(folder) / "runs", wandb="off", made_up=True)
        before = plan(sweep, job, measure=args.measure)
        spent = summarise_costs(RunSnapshot.load(run_sweep(sweep, job))).trials.set_index("arm")
        after = plan(sweep, job, measure=args.measure)
    print(f"{'device-seconds':32s} {'before':>8s} {'after':>8s} {'measured':>9s}  ratios")
    for first, last in zip(before.configurations, after.configurations, strict=True):
        kind = "measured" if first.measured else "estimated"
        taken = float(spent.loc[first.name, "total"])
        print(_line(first.name, _predicted(first, args), _predicted(last, args), taken), kind)
    sums = [sum(_predicted(c, args) for c in made.configurations) for made in (before, after)]
    print(_line("sum", *sums, float(spent["total"].sum())))
    for when, made in (("before", before), ("after", after)):
        span = made.device_seconds
        print(f"planned {when}: {span.low:.1f} to {span.high:.1f} device-seconds")


def _predicted(cost: ConfigurationCost, args: argparse.Namespace) -> float:
    return float(cost.start_seconds + args.epochs * cost.epoch_seconds)


def _line(name: str, before: float, after: float, taken: float) -> str:
    ratios = f"{before / taken:.2f} {after / taken:.2f}"
    return f"{name:32s} {before:8.1f} {after:8.1f} {taken:9.1f}  {ratios}"


if __name__ == "__main__":
    main()
