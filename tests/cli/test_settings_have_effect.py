"""Every setting that is given changes what is trained, or is refused with what it lacks."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainseg.cli.options.parser import Parser
from brainseg.cli.options.resolve import job_from_options, sweep_from_options
from brainseg.cli.options.sweep import add_sweep_options
from brainseg.cli.train import single
from brainseg.config.distributions import Choice, Integers, Value
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import Leaf, flatten, leaves
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Points, Sweep
from tests.support.options import asked, options_of
from tests.support.small_sweeps import DRAWN, HONEST, REPORT
from tests.support.sweeps import ROOT, brainseg, script

SCRIPTS = {path.stem: script(path) for path in sorted((ROOT / "sweeps").glob("*.py"))}
OTHER_NUMBERS = (0.37, 3, 2, 1, 0.0)  # one of them is legal, and none is a default of all
WORDS = {"model.encoder.name": "vgg16", "model.encoder.weights": "./mine.pth"}


def other_value(leaf: Leaf, default: Value) -> Value:
    """A legal value that is not the default."""
    if leaf.options:
        return next(option for option in leaf.options if option != default)
    if leaf.kind is bool:
        return not default
    if leaf.kind is str:
        return WORDS[leaf.path]
    numbers = (leaf.kind(number) for number in OTHER_NUMBERS)
    return next(
        number
        for number in numbers
        if number != default and (leaf.rule is None or leaf.rule.allows(float(number)))
    )


def trained(sweep: Sweep) -> list[dict[str, Value]]:
    """What may be trained: the first points, and draws of the space."""
    from random import Random

    points: list[Any] = [pinned | drawn for drawn, pinned in sweep.points()]
    rng = Random(0)
    if sweep.draws:
        points += [sweep.space.sample(rng) for _ in range(60)]
    return [flatten(sweep.space.config(point)) for point in points]


def refusal(sweep: Sweep, *words: str) -> str:
    try:
        asked(sweep, *words)
    except ValueError as error:
        return str(error)
    return ""


def lacked(sentence: str) -> list[str]:
    return [f"--set={words}" for words in re.findall(r"--set (\S+?)(?=[ ,;]|$)", sentence)]


@pytest.mark.parametrize("leaf", list(leaves(TrialConfig)), ids=lambda leaf: leaf.path)
def test_a_hyperparameter_changes_the_trial_or_is_refused_with_what_makes_it_count(
    leaf: Leaf,
) -> None:
    known = flatten(TrialConfig()).get(leaf.path)
    value = other_value(leaf, known if known is not None else -1)
    word = f"--set={leaf.path}={value}"
    words = ["--data=x", word, *(["--folds=5"] if leaf.path == "fold" else [])]
    sentence = refusal(single(), *words)
    if sentence:
        assert sentence.startswith(f"{leaf.path}={value} has no effect: "), sentence
        words += lacked(sentence)
        assert not refusal(single(), *words)
    params = trained(asked(single(), *words))[0]
    kept = str(Path(str(value)).resolve()) if leaf.path == "model.encoder.weights" else value
    assert params[leaf.path] == kept


@pytest.mark.parametrize("name", SCRIPTS)
def test_in_every_script_each_hyperparameter_counts_somewhere_or_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = SCRIPTS[name]
    for leaf in leaves(TrialConfig):
        if leaf.path in ("fold", "model.encoder.weights"):
            continue
        known = flatten(TrialConfig()).get(leaf.path)
        value = other_value(leaf, known if known is not None else -1)
        if sentence := refusal(sweep, "--data=x", f"--set={leaf.path}={value}"):
            assert "has no effect" in sentence or "none of its" in sentence, (leaf.path, sentence)
            continue
        changed = asked(sweep, "--data=x", f"--set={leaf.path}={value}")
        assert any(params.get(leaf.path) == value for params in trained(changed)), leaf.path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--set=model.encoder.freeze.first.blocks=9",
            "model.encoder.freeze.first.blocks=9 has no effect: no configuration of this sweep has "
            "model.encoder.freeze=first; add --set model.encoder.freeze=first, or leave it out",
        ),
        (
            "--set=model=plain --weights=nope",
            "model.encoder.weights=nope has no effect: no configuration of this sweep has "
            "model=encoder; add --set model=encoder, or leave it out",
        ),
        (
            "--set=lr=auto --set=optimizer.adamw.lr=0.1",
            "optimizer.adamw.lr=0.1 has no effect: no configuration of this sweep has lr=given; "
            "add --set lr=given, or leave it out",
        ),
        (
            "--set=lr=auto --set=schedule=triangular --set=schedule.triangular.floor=0.2",
            "schedule.triangular.floor=0.2 has no effect: no configuration of this sweep has "
            "lr=given; add --set lr=given, or leave it out",
        ),
        (
            "--set=model.encoder.freeze=whole --set=model.encoder.layer_decay=0.5",
            "model.encoder.layer_decay=0.5 has no effect: no configuration of this sweep has "
            "model.encoder.freeze=nothing; add --set model.encoder.freeze=nothing, or leave it out",
        ),
        (
            "--set=optimizer.sgd.lr=0.2 --try=optimizer=adam",
            "optimizer.sgd.lr=0.2 has no effect: no configuration of this sweep has optimizer=sgd; "
            "add --set optimizer=sgd, or leave it out",
        ),
        ("--try=optimizer.sgd.lr=0.2", "optimizer.sgd.lr exists only on another branch; this one"),
        (
            "--try=lr=auto,optimizer.adamw.lr=0.2",
            "optimizer.adamw.lr=0.2 has no effect in the configuration that names it, which has "
            "other than lr=given; add that to it, or leave the first out",
        ),
        (
            "--set=batch_size=8 --try=batch_size=16",
            "batch_size=8 has no effect: every configuration of this sweep has a value of its own; "
            "leave it out",
        ),
        (
            "--epochs=5 --set=epochs=6",
            "--epochs 5 and --set epochs=6 contradict each other; leave one out",
        ),
        ("--seed=1 --set=seed=2", "--seed 1 and --set seed=2 contradict each other"),
        ("--weights=none --set=model.encoder.weights=imagenet", "contradict each other"),
        ("--set=epochs=5 --set=epochs=6", "epochs is given twice, 5 and 6; leave one out"),
        ("--try=epochs=5,epochs=6", "epochs is given twice, 5 and 6; leave one out"),
        (
            "--encoders=vgg16",
            "--encoders is for sweeps that search encoders, this one does not; name one with "
            "--set model.encoder.name=NAME",
        ),
        ("--sampler=gp", "--sampler is for sweeps that search, this one searches no"),
        ("--from=runs/x", "--from is for sweeps that search, this one searches no"),
        ("--grace=2", "--grace has no effect: of 3 trials or fewer none is paused, there are 1"),
        ("--terminator", "a terminator can end a search of Dice alone, after 20 complete trials"),
        (
            "--try=batch_size=8 --try=batch_size=4",
            "--try has no effect beyond the last trial: 2 configurations come first, there are 1 "
            "trials; raise --trials",
        ),
        ("--trials=2 --try=epochs=8 --try=epochs=8", "--try epochs=8 is tried already; leave it"),
        ("--seeds=0,1", "--seeds is for sweeps that run a fixed list"),
        ("--split=x.csv --validation=0.3", "--validation has no effect: the file says who"),
        ("--split=x.csv --test=0.3", "--test has no effect: the file says who is locked"),
        ("--split=x.csv --split-seed=3", "--split-seed has no effect: the file is the split"),
        ("--folds=5 --validation=0.3", "--validation has no effect: each of the folds validates"),
    ],
)
def test_what_has_no_effect_on_one_configuration_is_refused(words: str, sentence: str) -> None:
    assert refusal(single(), "--data=x", *words.split()).startswith(sentence) or (
        sentence == "contradict each other" and sentence in refusal(single(), *words.split())
    )


@pytest.mark.parametrize(
    ("sweep", "words", "sentence"),
    [
        (SCRIPTS["encoders"], "--set=schedule.onecycle.start=0.1", "has schedule=onecycle; add"),
        (SCRIPTS["encoders"], "--set=model=plain --encoders=vgg16", "--encoders has no effect: no"),
        (SCRIPTS["encoders"], "--set=model.encoder.name=vgg16 --encoders=vgg16", "contradict"),
        (SCRIPTS["encoders"], "--terminator", "this one has 20 trials"),
        (SCRIPTS["cyclical_lr"], "--encoders=vgg16", "is for sweeps that search encoders"),
        (SCRIPTS["lgg_report"], "--set=seed=4", "name them with --seeds"),
        (SCRIPTS["lgg_report"], "--seed=4 --seeds=1,2", "contradict each other"),
        (SCRIPTS["lgg_report"], "--patience=0", "is for search sweeps"),
        (
            SCRIPTS["lgg_report"],
            "--set=model.encoder.freeze.gradual.until=0.3",
            "model.encoder.freeze=gradual; add --set model.encoder.freeze=gradual",
        ),
        (
            SCRIPTS["encoders"],
            "--trials=4 --try=model=plain,model.plain.width=8",
            "beyond the last",
        ),
        (SCRIPTS["encoders"], "--try=model=plain", "--try model=plain is tried already"),
        (SCRIPTS["lgg_report"], "--trials=4 --try=model=plain,model.plain.width=8", "beyond"),
        (SCRIPTS["epochs"], "--epochs=15 --try=model=plain,epochs=7", "has a value of its own"),
    ],
)
def test_what_has_no_effect_on_a_sweep_is_refused(sweep: Sweep, words: str, sentence: str) -> None:
    assert sentence in refusal(sweep, "--data=x", *words.split())


@pytest.mark.parametrize(
    ("sweep", "words"),
    [  # they count for some of the configurations
        (SCRIPTS["encoders"], "--set=model.plain.width=8"),
        (SCRIPTS["encoders"], "--set=model.encoder.freeze.gradual.until=0.3"),
        (SCRIPTS["encoders"], "--smoke --set=model.encoder.freeze.gradual.until=0.3"),
        (SCRIPTS["cyclical_lr"], "--set=schedule.step.factor=0.3"),
        (SCRIPTS["lgg_report"], "--set=model.encoder.layer_decay=0.9"),
        (SCRIPTS["lgg_report"], "--set=model=encoder"),
        (SCRIPTS["lgg_report"], "--smoke --set=model=encoder"),
        (SCRIPTS["freezing"], "--smoke"),
        (single(), "--set=model=plain --weights=none"),
        (SCRIPTS["weights"], "--smoke"),
        (single(), "--smoke --set=model=plain --set=model.plain.depth=2"),
        (single(), "--set=optimizer.sgd.lr=0.2 --try=optimizer=sgd"),
        (single(), "--trials=2 --set=optimizer.adamw.lr=0.2 --try=optimizer=adam"),
        (SCRIPTS["encoders"], "--weights=none --try=model.encoder.weights=./own.pth"),
        (DRAWN, "--trials=30 --terminator --patience=20 --grace=2"),
        (REPORT, "--split=x.csv --seeds=1,2"),
        (HONEST, "--split=x.csv --folds=3 --split-seed=2"),
    ],
)
def test_what_counts_for_some_is_accepted(
    sweep: Sweep, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(sweep, *(["--data=x"] if "smoke" not in words else []), *words.split())


def test_what_a_rehearsal_fixes_for_models_that_are_not_tried_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "model.plain.width" not in asked(single()).space.fixed
    assert asked(single(), "--set=model=plain").space.fixed["model.plain.width"] == 16


def test_a_sweep_in_python_is_held_to_the_same_rule() -> None:
    def sweep(space: Space[TrialConfig], **other: Any) -> Sweep:
        return Sweep(name="s", question="?", space=space, **other)

    held = Space(TrialConfig(), search=(), fixed={"model.plain.width": 8})
    with pytest.raises(ValueError, match="add --set model=plain, or leave it out"):
        sweep(held)
    assert sweep(held, first=({"model": "plain"},))
    assert sweep(replace(held, search=("model",)))
    narrow = {"model": Choice("encoder")}
    with pytest.raises(ValueError, match="has model=plain"):
        sweep(replace(held, search=("model",), narrow=narrow))
    epochs = Space(TrialConfig(), search=(), fixed={"epochs": 5})
    with pytest.raises(ValueError, match="every configuration of this sweep has a value of its"):
        sweep(epochs, first=({"epochs": 6},), strategy=Points())
    idle = {"lr": "auto", "optimizer.adamw.lr": 0.01}
    with pytest.raises(ValueError, match="no effect in the configuration that names it"):
        sweep(Space(TrialConfig(), search=()), first=(idle,), strategy=Bayes(trials=2))
    blocks = {"model.encoder.freeze.first.blocks": Integers(1, 3)}
    assert sweep(Space(TrialConfig(), search=("model.encoder.freeze*",), narrow=blocks))
    with pytest.raises(ValueError, match="searched to no effect: no configuration that is drawn"):
        sweep(Space(TrialConfig(), search=("epochs", "model.encoder.freeze.first.blocks")))
    with pytest.raises(ValueError, match=r"has model\.encoder\.freeze=first; search that as well"):
        sweep(Space(TrialConfig(), search=("model.encoder.freeze.first*", "epochs")))
    with pytest.raises(ValueError, match="has lr=given; search that as well"):
        sweep(Space(TrialConfig(lr="auto"), search=("optimizer.adamw.lr", "batch_size")))


@pytest.mark.parametrize("path", ["optimizer.adamw.lr", "schedule.cosine.floor"])
def test_a_range_test_refuses_what_it_overrides(path: str) -> None:
    done = brainseg("lr-range", "--data=x", f"--set={path}=0.5")
    assert done.status == 2 and done.stderr == (
        f"brainseg: {path}=0.5 has no effect: a range test sets the learning rate of each step "
        "itself; leave it out, or choose --lowest, --highest and --steps\n"
    )


# A value of each option; what it says is either taken up or refused.
GIVEN = {
    "--data": "y",
    "--layout": "nifti",
    "--label": "4+1",
    "--storage": "elsewhere",
    "--name": "other",
    "--split": "slices",
    "--validation": "0.25",
    "--test": "0.2",
    "--split-seed": "3",
    "--folds": "4",
    "--smoke": None,
    "--seeds": "5,6",
    "--seed": "5",
    "--epochs": "7",
    "--image-size": "96",
    "--encoders": "vgg16,resnet18",
    "--weights": "none",
    "--set": "batch_size=7",
    "--try": "model=plain,model.plain.width=3",
    "--trials": "2",
    "--hours": "3",
    "--device-hours": "3",
    "--patience": "1",
    "--terminator": None,
    "--grace": "3",
    "--sampler": "random",
    "--objectives": "dice,parameters",
    "--from": "runs/earlier",
    "--workers": "2",
    "--gpus-per-worker": "0.5",
    "--concurrent": "3",
    "--address": "auto",
    "--wait": "3",
    "--offline": None,
    "--wandb": "off",
    "--retry-failed": None,
    "--stall-minutes": "7",
    "--checkpoint-every": "9",
}


@pytest.mark.parametrize("sweep", [single(), DRAWN, HONEST], ids=["train", "search", "list"])
def test_every_option_changes_the_sweep_or_its_job_or_is_refused(sweep: Sweep) -> None:
    parser = Parser()
    add_sweep_options(parser, sweep)
    names = {action.option_strings[-1] for action in parser._actions} - {"--help"}
    assert names == GIVEN.keys()

    def outcome(*words: str) -> tuple[object, ...]:
        options = options_of(sweep, "--data=x", *words)
        changed = sweep_from_options(sweep, options)
        return changed, replace(job_from_options(options), command=""), options.place

    usual, refused = outcome(), set[str]()
    for option, value in GIVEN.items():
        try:
            assert outcome(option if value is None else f"{option}={value}") != usual, option
        except ValueError as error:
            assert option.removeprefix("--") in str(error) or option in str(error), (option, error)
            refused.add(option)
    a_list = {"--encoders", "--grace", "--sampler", "--patience", "--terminator", "--from"}
    expected = {
        "train": (a_list - {"--from"}) | {"--seeds", "--from"},
        "s": {"--terminator", "--seeds"} if isinstance(sweep.strategy, Bayes) else a_list,
    }
    assert refused == expected[sweep.name]
