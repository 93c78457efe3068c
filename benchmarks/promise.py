"""Do as many more seeds or patients as ``further`` says tell the leader from the second?

A part of ``benchmarks.coverage``; the present study is a part of the larger one.
"""

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.study_simulator import Floats, World, persons, scored
from brainseg.analysis.best_set import best_set, pairwise
from brainseg.analysis.estimate import Trainings
from brainseg.analysis.power import beyond_chance, further
from brainseg.analysis.race import tail

Kept = dict[str, list[tuple[bool, int]]]  # of "seeds", "patients": whether it told; how many more

COUNTS = (3, 7)
SPREADS = (0.1, 0.2)  # of true values, on the scale of the logistic function: 0.01, 0.02 Dice


def promise(studies: int) -> None:
    """Of the leader and the second of the set; the larger study holds the present patients."""
    print("studies that leave two or more in the set, and in which something is promised; how "
          "often as many more tell, and their median: seeds; patients")  # fmt: skip
    of_all = Kept(seeds=[], patients=[])
    for count, n, noise, spread in product(COUNTS, (50, 110), ("quiet", "noisy"), SPREADS):
        rng, level = np.random.default_rng(5), tail(count, looks=0, last=True)
        left, kept = 0, Kept(seeds=[], patients=[])
        for _ in range(studies):
            gains = tuple(spread * rng.standard_normal(count))
            world = World(noise=noise, patients=n, gains=gains, failures=(0.0,) * count)
            left += extended(rng, world, level, kept)
        for what, noted in kept.items():
            of_all[what] += noted
        cells = [
            f"{len(said):4d} {100 * np.mean([told for told, _ in said]):6.0f} % "
            f"{np.median([more for _, more in said]):6.0f}" if said else f"{0:4d}{'':16}"
            for said in kept.values()
        ]  # fmt: skip
        print(f"{count} configurations, Dice spread by {spread / 10:.2f}, {n} patients, {noise}: "
              f"{left:4d} {';'.join(cells)}", flush=True)  # fmt: skip
    for what, noted in of_all.items():
        told = sum(told for told, _ in noted)
        print(f"all, {what}: {len(noted)} promised, {told} kept")


def extended(rng: Generator, world: World, level: float, kept: Kept) -> bool:
    """Whether a study leaves two or more; notes what is promised, and whether it comes true."""
    patients = persons(rng, world)
    dice_CSP, fold_SP = scored(rng, world, patients)
    gaps, trainings = pairwise(dice_CSP, Trainings(fold_SP)), Trainings(fold_SP)
    stays_C = best_set(gaps, level).may_be_best_C
    order = [c for c in np.argsort(-dice_CSP.mean((1, 2))) if stays_C[c]]
    if len(order) == 1:
        return False
    lead, rival = order[:2]
    promised = further("", gaps[lead][rival], trainings, tail=level, spread=beyond_chance(gaps))

    def tells(dice_CSP: Floats, fold_SP: NDArray[np.int64]) -> bool:
        gap = pairwise(dice_CSP, Trainings(fold_SP))[lead][rival]
        return bool(gap.mean > gap.reach(level))

    if promised and promised.seeds:
        more_CSP, more_SP = scored(rng, replace(world, seeds=promised.seeds), patients)
        both_CSP = np.concatenate([dice_CSP, more_CSP], axis=1)
        kept["seeds"].append((tells(both_CSP, np.concatenate([fold_SP, more_SP])), promised.seeds))
    if promised and promised.patients:
        others = persons(rng, replace(world, patients=promised.patients))
        told = tells(*scored(rng, world, patients.and_others(others)))
        kept["patients"].append((told, promised.patients))
    return True
