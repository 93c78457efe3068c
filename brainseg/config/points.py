"""What a fixed list of configurations must be."""

from collections.abc import Mapping, Sequence

from brainseg.config.distributions import Params, Value
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space

FEWEST_REPEATS = 4  # folds x (seeds - 1) of a comparison


def require_points(
    space: Space[TrialConfig], points: Sequence[Mapping[str, Value]], repeats: Sequence[Params]
) -> None:
    """Refuse points that a sweep cannot run as they stand.

    Args:
        repeats: the seed and the fold of each training of a point.

    Raises:
        ValueError: no point, two that are one configuration, a space that is searched, or a seed or
            fold that the repeats override.
    """
    if not points:
        raise ValueError("a sweep of points needs one or more in `first`, got none")
    if loose := sorted(space.distributions()):
        raise ValueError(
            f"a sweep of points draws nothing, but {', '.join(loose)} is searched; "
            "leave `search` empty, or use Bayes"
        )
    for path, option in (("seed", "--seeds"), ("fold", "--folds")):
        if path in space.fixed and path in repeats[0]:
            raise ValueError(
                f"{path}={space.fixed[path]} has no effect: a fixed list of configurations is "
                f"trained with the {path}s of its strategy; name them with {option}"
            )
    earlier: dict[TrialConfig, Mapping[str, Value]] = {}
    for point in points:
        if "seed" in point or "fold" in point:
            raise ValueError(
                f"seeds and folds belong to the strategy, not to a point, got {dict(point)}"
            )
        config = space.config(point)
        if config in earlier:
            raise ValueError(
                f"points must be different configurations, but {dict(point)} and "
                f"{dict(earlier[config])} are the same; leave one out"
            )
        earlier[config] = point


def too_few_trainings(folds: int, seeds: Sequence[int]) -> str:
    """Why so few cannot tell how much trainings vary, and what to add; "" if they can.

    Source: simulated (docs/log.md, 2026-11-30); with fewer, two equal configurations differ in one
    of ten studies where trainings are noisy.
    """
    folds = max(folds, 1)
    have = folds * (len(seeds) - 1)
    if have >= FEWEST_REPEATS:
        return ""
    more = -(-FEWEST_REPEATS // folds) + 1
    further = range(max(seeds, default=0) + 1, max(seeds, default=0) + more + 1)
    listed = ",".join(map(str, [*seeds, *further][:more]))
    return (
        f"a comparison takes folds x (seeds - 1) of {FEWEST_REPEATS} or more, to tell how much "
        f"trainings vary, got {folds} x {len(seeds) - 1} = {have}; take {more} seeds, such as "
        f"--seeds {listed}" + (f", or {FEWEST_REPEATS} folds" if len(seeds) == 2 else "")
    )
