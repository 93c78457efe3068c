"""How a confirmation is made: how many of a search's configurations it trains, and how often."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal, get_args

from brainseg.config.distributions import Value
from brainseg.config.sweep import REPORT_MODELS

Baselines = Literal["plain", "report", "none"]
BASELINES: tuple[Baselines, ...] = get_args(Baselines)
MODELS: Mapping[Baselines, tuple[Mapping[str, Value], ...]] = {
    "plain": REPORT_MODELS[:1],  # a training less for each of the other three, fold and seed
    "report": REPORT_MODELS,
    "none": (),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is trained again: the best ``top`` and the baselines, once for each fold and seed."""

    top: int = 3
    folds: int = 5
    seeds: tuple[int, ...] = (1, 2)
    baselines: Baselines = "plain"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(
                f"top must be at least 1 configuration of the search, got {self.top}; try 3"
            )
        if self.folds < 2:
            raise ValueError(
                f"folds must be at least 2 to score every patient, got {self.folds}; try 5"
            )
        if self.baselines not in BASELINES:
            raise ValueError(
                f"baselines must be one of {', '.join(BASELINES)}, got {self.baselines!r}"
            )

    @classmethod
    def recorded(cls, confirmation: Mapping[str, Any]) -> "Design":
        """That of a confirmation's sweep.json."""
        confirms, strategy = confirmation["confirms"], confirmation["strategy"]
        models = sum(arm["baseline"] for arm in confirms["arms"])
        return cls(
            top=confirms["top"],
            folds=strategy["folds"],
            seeds=tuple(strategy["seeds"]),
            baselines="report" if models > 1 else "plain" if models else "none",
        )

    def continued(self, asked: Mapping[str, Any], folder: Path) -> "Design":
        """This design, of the confirmation in ``folder``, with the seeds that ``asked`` adds.

        Raises:
            ValueError: ``asked`` differs in anything else.
        """
        wanted = replace(self, **asked)
        kept = replace(wanted, seeds=wanted.seeds[: len(self.seeds)])
        if kept != self:
            further = ",".join(map(str, (*self.seeds, max(self.seeds) + 1)))
            raise ValueError(
                f"{folder} was started with {self}, which cannot be changed to {wanted}; leave "
                f"these options out to continue it (--seeds {further} adds a seed), or move that "
                "folder away to start another"
            )
        return wanted

    def __str__(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        return f"--top {self.top} --folds {self.folds} --seeds {seeds} --baselines {self.baselines}"


def other_seeds(used: Collection[int]) -> tuple[int, ...]:
    """The first two seeds from 1 on that the search did not use.

    What leads a search owes that to its seed in part; trained with the same one again, it would
    keep this luck, and the confirmation would confirm it.
    """
    return tuple(islice((seed for seed in count(1) if seed not in used), 2))
