"""Do the comparison's intervals, sets, races and promises hold where the truth is known?

Run    python -m benchmarks.coverage [PART ...] [--studies 400]     (all: five minutes of one core)
Gives  in percent of the simulated studies of ``study_simulator``, each part a table:

       intervals  95 % intervals that cover: of a difference, and of one configuration's own Dice
       equal      false claims among 7 equal configurations
       ladders    the set that holds the best with 95 %, and its simultaneous intervals
       power      which difference of one better configuration among 7 is told with 80 %
       race       what is trained and lost when beaten configurations leave after each seed
       first      whether P(best) of the leader is how often it is the best
       promise    whether as many more seeds or patients as ``further`` says tell in 80 %

A design is folds x seeds; 2 x 2 is refused by brainseg and shown for that reason only. The Monte
Carlo error of a share of 95 % (5 %) is 1.1 points with 400 studies, 0.5 with 2000; of 80 %, 2.0 and
0.9. The same command prints the same figures.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from benchmarks.promise import promise
from benchmarks.study_simulator import Floats, World, study, truth
from brainseg.analysis.best_set import BestSet, best_set, pairwise
from brainseg.analysis.estimate import Interval, Trainings, estimate
from brainseg.analysis.pairs import holm, two_sided
from brainseg.analysis.race import beaten, tail
from brainseg.analysis.ranks import ranks

ARMS = 7
PATIENTS = (20, 50, 110)
DESIGNS = ((5, 2), (5, 3), (2, 3))
REFUSED = (2, 2)
SAME = (0.0,) * ARMS


def studies_of(world: World, studies: int) -> Iterator[tuple[Floats, Trainings]]:
    """The same studies each time."""
    rng = np.random.default_rng(1)
    for _ in range(studies):
        dice_CSP, fold_SP = study(rng, world)
        yield dice_CSP, Trainings(fold_SP)


def covers(interval: Interval, aim: float) -> bool:
    return interval.low <= aim <= interval.high


def designed(world: World, patients: int, design: tuple[int, int]) -> World:
    return replace(world, patients=patients, folds=design[0], seeds=design[1])


def intervals(studies: int) -> None:
    """Where the folds are cut anew, training sets matter no more than seeds do."""
    print("intervals that cover the true difference / own Dice; mean width of the difference's")
    columns = list(product(PATIENTS, (*DESIGNS, REFUSED)))
    header = "".join(f"{f'{n}, {k} x {s}':>18}" for n, (k, s) in columns)
    print(f"{'folds, failures, noise, training sets':40}{header}")
    summary: dict[str, list[Floats]] = {}
    cuts = ((True, 1.0), (False, 0.0), (False, 1.0), (False, 2.0))
    for (anew, sets), failures, noise in product(
        cuts, ((0.0, 0.0), (0.05, 0.05), (0.03, 0.1)), ("quiet", "noisy")
    ):
        world = World(noise=noise, sets=sets, anew=anew, failures=failures)
        cells = [covered(designed(world, *column), studies) for column in columns]
        cut = "anew" if anew else "same"
        row = "".join(f"{100 * a:7.1f}/{100 * b:5.1f}{c:6.3f}" for a, b, c in cells)
        print(f"{f'{cut}, {failures[0]:.2f}/{failures[1]:.2f}, {noise}, {sets:.0f}':40}{row}")
        kept = [cell for cell, (_, d) in zip(cells, columns, strict=True) if d != REFUSED]
        summary.setdefault(cut if anew else f"same, sets {sets:.0f}", []).extend(kept)
    for cut, cells in summary.items():
        share = 100 * np.array(cells)[:, :2]
        low, middle, high = np.quantile(share, [0, 0.5, 1], axis=0)
        of_gap, of_dice = (
            f"{low[k]:.1f} to {high[k]:.1f}, median {middle[k]:.1f}" for k in range(2)
        )
        print(f"{cut}, not refused: difference {of_gap}; own Dice {of_dice}")


def covered(world: World, studies: int) -> Floats:
    """Shares of studies that cover the difference and the second's Dice; the mean width."""
    first, second = truth(world)
    if world.failures[0] == world.failures[1]:
        first = second  # by symmetry; the simulated truth has an error of its own
    counts = np.zeros(3)
    for dice_CSP, trainings in studies_of(world, studies):
        gap = estimate(dice_CSP[0] - dice_CSP[1], trainings).of_difference()
        own = estimate(dice_CSP[1], trainings).of_dice()
        counts += [covers(gap, first - second), covers(own, second), gap.high - gap.low]
    return counts / studies


def equal(studies: int) -> None:
    print("7 equal configurations: a given one is lost from the set / any leaves / a single one "
          "stays / any pair differs after Holm")  # fmt: skip
    print(f"{'patients, design':20}{'quiet':>28}{'noisy':>28}{'quiet, 5 % fail':>28}"
          f"{'noisy, 5 % fail':>28}")  # fmt: skip
    worst = np.zeros(4)
    for n, design in product(PATIENTS, (*DESIGNS, REFUSED)):
        row = ""
        for share, noise in product((0.0, 0.05), ("quiet", "noisy")):
            world = World(noise=noise, gains=SAME, failures=(share,) * ARMS)
            counts = np.zeros(4)
            for dice_CSP, trainings in studies_of(designed(world, n, design), studies):
                gaps = pairwise(dice_CSP, trainings)
                stays_C = best_set(gaps, tail(ARMS, looks=0, last=True)).may_be_best_C
                p = np.array([two_sided(gaps[a][b]) for a in range(ARMS) for b in range(a)])
                counts += [~stays_C[0], ~stays_C.all(), stays_C.sum() == 1, holm(p).min() < 0.05]
            row += f"{' / '.join(f'{100 * c / studies:.1f}' for c in counts):>28}"
            if design != REFUSED:
                worst = np.maximum(worst, counts / studies)
        print(f"{f'{n}, {design[0]} x {design[1]}':20}{row}", flush=True)
    print("at most, not refused: " + " / ".join(f"{100 * share:.1f}" for share in worst))


LADDERS = {
    "equal": World(gains=SAME, failures=SAME),
    "steps of 0.005 Dice": World(gains=tuple(-0.05 * c for c in range(ARMS)), failures=SAME),
    "steps of 0.01": World(gains=tuple(-0.1 * c for c in range(ARMS)), failures=SAME),
    "steps of 0.02": World(gains=tuple(-0.2 * c for c in range(ARMS)), failures=SAME),
    "one better by 0.03": World(gains=(0.0, *[-0.33] * (ARMS - 1)), failures=SAME),
    "two noisy of seven": World(
        gains=SAME, failures=SAME, noise=("noisy", "noisy", *["quiet"] * (ARMS - 2))
    ),
    "failures 3 and 10 %": World(gains=SAME, failures=(0.03, *[0.1] * (ARMS - 1))),
}


def ladders(studies: int) -> None:
    print("the set holds the best / mean size of the set / all simultaneous intervals cover")
    sizes = ((20, (5, 2)), (50, (5, 2)), (110, (5, 2)), (110, (5, 3)))
    columns = list(product(("quiet", "noisy"), sizes))
    header = "".join(f"{f'{noise} {n}, {k} x {s}':>20}" for noise, (n, (k, s)) in columns)
    print(f"{'truth':22}{header}")
    for name, ladder in LADDERS.items():
        row = ""
        for noise, (n, design) in columns:
            world = ladder if isinstance(ladder.noise, tuple) else replace(ladder, noise=noise)
            counts = np.zeros(3)
            for dice_CSP, trainings in studies_of(designed(world, n, design), studies):
                judged = best_set(pairwise(dice_CSP, trainings), tail(ARMS, looks=0, last=True))
                counts += held(judged, to_best(world))
            best, size, together = counts / studies
            row += f"{f'{100 * best:.1f} / {size:.1f} / {100 * together:.1f}':>20}"
        print(f"{name:22}{row}", flush=True)


def to_best(world: World) -> Floats:
    """The true Dice of each configuration less that of the best of the others."""
    if world.gains == SAME and world.failures == SAME and isinstance(world.noise, str):
        return np.zeros(ARMS)
    true_C = truth(world)
    return np.array([own - np.delete(true_C, c).max() for c, own in enumerate(true_C)])


def held(judged: BestSet, aim_C: Floats) -> tuple[float, float, float]:
    """Whether the best is in the set, its size, whether all intervals cover."""
    together = all(covers(*pair) for pair in zip(judged.to_best, aim_C, strict=True))
    return float(judged.may_be_best_C[aim_C.argmax()]), judged.may_be_best_C.sum(), float(together)


def power(studies: int) -> None:
    """Interpolated between seven differences."""
    print("Dice by which one of 7 must be better to be told with 80 %: from a given other / from "
          "all, as the only one in the set")  # fmt: skip
    for failures, noise in product((0.0, 0.05), ("quiet", "noisy")):
        row = ""
        for n, design in ((20, (5, 2)), (50, (5, 2)), (110, (5, 2)), (110, (5, 3)), (110, (2, 3))):
            shares, gaps = [], []
            for gain in (0.12, 0.2, 0.28, 0.36, 0.45, 0.6, 0.8):
                world = World(noise=noise, gains=(gain, *SAME[1:]), failures=(failures,) * ARMS)
                counts = np.zeros(2)
                for dice_CSP, trainings in studies_of(designed(world, n, design), studies):
                    gaps_CC = pairwise(dice_CSP, trainings)
                    stays_C = best_set(gaps_CC, tail(ARMS, looks=0, last=True)).may_be_best_C
                    counts += [~stays_C[1], stays_C[0] and stays_C.sum() == 1]
                shares.append(counts / studies)
                gaps.append(to_best(world)[0])
                if shares[-1].min() > 0.9:
                    break
            least = [where_80(np.array(shares)[:, k], np.array(gaps)) for k in range(2)]
            row += f"   {n}, {design[0]} x {design[1]}: {' / '.join(least)}"
        print(f"{noise}, failures {failures:.2f}{row}", flush=True)


def where_80(share_G: Floats, gap_G: Floats) -> str:
    if share_G.max() < 0.8:
        return f"> {gap_G[-1]:.3f} ({100 * share_G[-1]:.0f} %)"
    return f"{np.interp(0.8, np.maximum.accumulate(share_G), gap_G):.3f}"


def race(studies: int) -> None:
    print("all seeds for all, and the race: the best lost, mean size of the set; trainings of the "
          "race over all")  # fmt: skip
    columns = list(product(("quiet", "noisy"), (50, 110), ((5, 2), (5, 3))))
    header = "".join(f"{f'{noise} {n}, {k} x {s}':>26}" for noise, n, (k, s) in columns)
    print(f"{'truth':22}{header}")
    for name in (
        "equal",
        "steps of 0.005 Dice",
        "steps of 0.01",
        "steps of 0.02",
        "one better by 0.03",
    ):
        row = ""
        for noise, n, design in columns:
            world = designed(replace(LADDERS[name], noise=noise), n, design)
            counts = np.sum([raced(*drawn) for drawn in studies_of(world, studies)], axis=0)
            lost, size, lost_race, size_race, spent = counts / studies
            cell = f"{100 * lost:.1f}, {size:.1f}; {100 * lost_race:.1f}, {size_race:.1f}"
            row += f"{f'{cell}; {spent:.2f}':>26}"
        print(f"{name:22}{row}", flush=True)


def raced(dice_CSP: Floats, trainings: Trainings) -> Floats:
    """Of one study whose first configuration is the best."""
    whole = best_set(pairwise(dice_CSP, trainings), tail(ARMS, looks=0, last=True)).may_be_best_C
    looks, alive, spent = trainings.seeds - 1, np.arange(ARMS), 0
    for seed in range(1, trainings.seeds):
        spent += len(alive)
        so_far = Trainings(trainings.fold_SP[:seed])
        level = tail(ARMS, looks=looks, last=False)
        out = [gone.place for gone in beaten(dice_CSP[alive, :seed], so_far, level)]
        alive = np.delete(alive, out)
    spent += len(alive)
    last = best_set(pairwise(dice_CSP[alive], trainings), tail(ARMS, looks=looks, last=True))
    stays = alive[last.may_be_best_C]
    share = spent / ARMS / trainings.seeds
    return np.array([~whole[0], whole.sum(), 0 not in stays, len(stays), share], float)


def first(studies: int) -> None:
    """The true gains are drawn anew for each study."""
    print("P(best) of the leader: mean, and how often it is the best; with P(best) below 0.5, to "
          "0.8, and above")  # fmt: skip
    for noise, spread in product(("quiet", "noisy"), (0.1, 0.2, 0.4)):
        rng, pairs = np.random.default_rng(2), []
        for _ in range(studies):
            gains = tuple(spread * rng.standard_normal(ARMS))
            dice_CSP, fold_SP = study(rng, World(noise=noise, gains=gains, failures=SAME))
            lead = int(dice_CSP.mean((1, 2)).argmax())
            chance = ranks(dice_CSP, Trainings(fold_SP), draws=1000).first_C[lead]
            pairs.append((chance, lead == int(np.argmax(gains))))
        chance_R, right_R = np.array(pairs, float).T
        groups = [np.full(studies, True), chance_R < 0.5,
                  (chance_R >= 0.5) & (chance_R <= 0.8), chance_R > 0.8]  # fmt: skip
        cells = [
            f"{chance_R[at].mean():.2f} {right_R[at].mean():.2f} ({at.sum()})"
            for at in groups if at.any()
        ]  # fmt: skip
        print(f"{noise}, Dice spread by {spread / 10:.2f}   {'   '.join(cells)}", flush=True)


PARTS: dict[str, Callable[[int], None]] = {
    part.__name__: part for part in (intervals, equal, ladders, power, race, first, promise)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--studies", type=int, default=400)
    options = parser.parse_args()
    for name in options.parts or PARTS:
        PARTS[name](options.studies)
        print()


if __name__ == "__main__":
    main()
