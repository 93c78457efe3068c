"""What do predictors score that look at no image, under a split by slices and one by patients?

Run    python benchmarks/baselines.py --data kaggle_3m
Gives  the scores of each on the validation slices, as the mean over five splits and the lowest
       and highest of them, at 256 pixels. What copying the nearest slice scores is what a split by
       slices leaks.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import open_pack
from brainseg.data.splits.draw import split_by_patient, split_by_slice
from brainseg.evaluation.baselines import MEAN, baselines

SEEDS = range(5)
SPLITS = {"slices": split_by_slice, "patients": split_by_patient}
SCORES = {
    "micro_dice": "micro Dice",
    "slice_dice_empty1": "mean slice Dice, empty = 1",
    "tumour_slice_dice": "tumour slices only",
    "dice": "patient volume",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    root = parser.parse_args().data.expanduser()
    table = find_slices(root)
    masks_NHW = open_pack(table, root, image_size=256).masks_NHW
    scores_of: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for by, split in SPLITS.items():
        for seed in SEEDS:
            table["part"] = split(table, seed=seed)
            for baseline in baselines(masks_NHW, table):
                for score in SCORES if baseline.scores else ():
                    name = MEAN if baseline.name.startswith(MEAN) else baseline.name
                    scores_of[by, name, score].append(baseline.scores[score])
    scores = Table("split by", "predictor", *SCORES.values(), title=f"{root}: {len(table)} slices")
    for by, name in dict.fromkeys((by, name) for by, name, _ in scores_of):
        figures = [scores_of[by, name, score] for score in SCORES]
        scores.add_row(by, name, *map(words, figures))
    Console(width=150).print(scores)


def words(figures: list[float]) -> str:
    return f"{sum(figures) / len(figures):.3f} ({min(figures):.3f}-{max(figures):.3f})"


if __name__ == "__main__":
    main()
