"""The hyperparameters that options give; options that contradict or mean nothing are refused."""

from collections.abc import Iterable, Mapping, Sequence

from brainseg.cli.options.sweep import SweepOptions
from brainseg.config.distributions import Params, Value
from brainseg.config.effect import in_words, lacking_in_draws
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Points, Sweep

NAME = "model.encoder.name"


def fixed_by(options: SweepOptions, sweep: Sweep) -> Params:
    """The hyperparameters that options hold at one value in all configurations."""
    seeded = isinstance(sweep.strategy, Points)  # --seed is then the strategy's
    named = {path: value for _, path, value in _named(options) if not (seeded and path == "seed")}
    return {**named, **options.fixed}


def refuse_contradictions(options: SweepOptions) -> None:
    """Refuse options of which one overrides another."""
    held = {path: (f"--set {path}={value}", value) for path, value in options.fixed.items()}
    for option, path, value in _named(options):
        word = f"{option} {value}"
        _refuse_both(word, value, *held.get(path, (word, value)))
        held[path] = word, value
    if options.seeds and options.seed is not None:
        _refuse_both("--seeds", 0, f"--seed {options.seed}", 1)
    if options.encoders and NAME in options.fixed:
        _refuse_both("--encoders", 0, held[NAME][0], 1)


def refuse_misplaced(sweep: Sweep, options: SweepOptions) -> None:
    """Refuse options that mean nothing for this kind of sweep."""
    if isinstance(sweep.strategy, Bayes):
        _refuse_for_search(sweep, sweep.strategy, options)
        return
    _refuse(
        (
            ("--encoders", options.encoders, "name configurations with --try"),
            ("--grace", options.grace is not None, "leave it out"),
            ("--sampler", options.sampler, "leave it out"),
            ("--patience", options.budget.patience is not None, "leave it out"),
            ("--terminator", options.budget.terminator, "leave it out"),
            ("--from", options.earlier, "leave it out"),
        ),
        "is for search sweeps, this one runs a fixed list of configurations",
    )


def refuse_untried(
    sweep: Sweep,
    options: SweepOptions,
    space: Space[TrialConfig],
    own: Sequence[Mapping[str, Value]],
    tried: Sequence[Mapping[str, Value]],
) -> None:
    """Refuse a configuration to try that comes after the last trial, or twice.

    Args:
        own: the sweep's own first configurations, which come before.
        tried: those of --try.
    """
    trials = sweep.strategy.trials if options.budget.trials is None else options.budget.trials
    if tried and trials is not None and trials < len(own) + len(tried):
        raise ValueError(
            f"--try has no effect beyond the last trial: {len(own) + len(tried)} configurations "
            f"come first, there are {trials} trials; raise --trials"
        )
    earlier = [space.config(point) for point in own]
    for point in tried:
        if (config := space.config(point)) in earlier:
            words = ",".join(f"{path}={value}" for path, value in point.items())
            raise ValueError(f"--try {words} is tried already; leave it out")
        earlier.append(config)


def _refuse_for_search(sweep: Sweep, strategy: Bayes, options: SweepOptions) -> None:
    from brainseg.search.scheduler import FINALISTS

    trials = strategy.trials if options.budget.trials is None else options.budget.trials
    searched = sweep.space.distributions().keys() - options.fixed.keys()
    remedy = "take --seed, which gives all trials one seed"
    _refuse(
        (("--seeds", options.seeds, remedy),),
        "is for sweeps that run a fixed list of configurations, this one searches",
    )
    remedy = f"name one with --set {NAME}=NAME"
    _refuse(
        (("--encoders", options.encoders and NAME not in searched, remedy),),
        "is for sweeps that search encoders, this one does not",
    )
    lacks = lacking_in_draws(sweep.space.holding(options.fixed), NAME)
    _refuse(
        (("--encoders", options.encoders and lacks, "leave it out"),),
        f"has no effect: no configuration of this sweep has {in_words(lacks)}",
    )
    _refuse(
        (
            ("--sampler", options.sampler and not searched, "leave it out"),
            ("--from", options.earlier and not searched, "leave it out"),
        ),
        "is for sweeps that search, this one searches no hyperparameter",
    )
    few = options.grace is not None and trials <= FINALISTS
    _refuse(
        (("--grace", few, "leave it out, or raise --trials"),),
        f"has no effect: of {FINALISTS} trials or fewer none is paused, there are {trials}",
    )


def _named(options: SweepOptions) -> list[tuple[str, str, Value]]:
    """Options that are short for a hyperparameter: option, path, value."""
    named = (
        ("--epochs", "epochs", options.epochs),
        ("--image-size", "image_size", options.image_size),
        ("--seed", "seed", options.seed),
        ("--weights", "model.encoder.weights", options.weights),
    )
    return [(option, path, value) for option, path, value in named if value is not None]


def _refuse_both(first: str, value: Value, second: str, other: Value) -> None:
    if value != other:
        raise ValueError(f"{first} and {second} contradict each other; leave one out")


def _refuse(rules: Iterable[tuple[str, object, str]], why: str) -> None:
    for option, misplaced, remedy in rules:
        if misplaced:
            raise ValueError(f"{option} {why}; {remedy}")
