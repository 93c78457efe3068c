"""How soon does each model of a sweep reach a validation Dice, seed by seed?

Run    python -m benchmarks.epochs_to_reach runs/weights [--dice 0.5 0.6 0.7]
Gives  for each model the mean validation Dice of its seeds after every epoch, and for each seed
       the first epoch whose Dice is at least the one asked for, nan if none is.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from brainseg.analysis.claims.curves import first_epoch
from brainseg.records.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--dice", type=float, nargs="+", default=[0.5, 0.6, 0.7])
    args = parser.parse_args()
    run = Run(args.run)
    curves: dict[str, list[list[float]]] = defaultdict(list)
    for record in run.trials():
        curves[record.configuration].append([row.dice for row in run.trial(record.trial).rows()])
    for name, seeds in curves.items():
        means = [fmean(epoch) for epoch in zip(*seeds, strict=False)]
        print(f"{name}, {len(seeds)} seeds: {' '.join(f'{mean:.3f}' for mean in means)}")
        for dice in args.dice:
            epochs = ", ".join(f"{first_epoch(curve, dice):g}" for curve in seeds)
            print(f"  Dice {dice:g} first reached in epoch {epochs}")


if __name__ == "__main__":
    main()
