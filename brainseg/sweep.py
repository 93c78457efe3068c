"""What a sweep is: a question, a space, what is tried first, a strategy and a budget."""

from collections.abc import Mapping
from dataclasses import dataclass

from brainseg.config import TrialConfig
from brainseg.space import Params, Space, Value


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Optuna's TPE; trials that fall behind at a rung are stopped early (asynchronous halving).

    Sources: Bergstra et al. (2011); Li et al. (2020), "A system for massively parallel
    hyperparameter tuning".
    """

    trials: int = 20
    grace_epochs: int = 4  # no trial is stopped before
    reduction: int = 3  # one trial in `reduction` goes on beyond each rung
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("grace_epochs", 1), ("reduction", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Split:
    """How slices are divided into train, validation and test."""

    by: str = "patients"  # or "slices": the report's, which leaks; or the path of a CSV file
    validation: float = 0.2  # share of the patients; of what test leaves, if by slices
    test: float = 0.1  # share that the search never sees
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("patients", "slices") and not self.by.lower().endswith(".csv"):
            raise ValueError(
                "a split is by patients, by slices or from a file whose name ends in .csv, "
                f"got {self.by!r}"
            )
        if not (0 < self.validation < 1 and 0 <= self.test < 1 and self.validation + self.test < 1):
            raise ValueError(
                "validation must be above 0, test at least 0, and both together below 1, "
                f"got {self.validation} and {self.test}"
            )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One question, and the compute it may spend on the answer."""

    name: str
    question: str
    space: Space[TrialConfig]
    first: tuple[Mapping[str, Value], ...] = ()  # tried in this order before the searcher draws
    strategy: Bayes = Bayes()
    split: Split = Split()

    def points(self) -> list[tuple[Params, Params]]:
        """The points of ``first`` as (drawn, pinned), see ``Space.split``."""
        return [self.space.split(point) for point in self.first]


# The four models that the report compared by eye; every sweep over encoders begins with them.
REPORT_MODELS: tuple[Mapping[str, Value], ...] = (
    {"model": "plain"},
    {"model": "encoder", "model.encoder.name": "vgg16", "model.encoder.freeze": "nothing"},
    {"model": "encoder", "model.encoder.name": "resnet50", "model.encoder.freeze": "nothing"},
    {
        "model": "encoder",
        "model.encoder.name": "resnet50",
        "model.encoder.freeze": "first",
        "model.encoder.freeze.first.blocks": 2,
    },
)
