"""What options make of a sweep."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from brainseg.cli.options.parser import Parser
from brainseg.cli.options.sweep import add_sweep_options
from brainseg.config.sweep import REPORT_MODELS, Bayes, Budget, Points, Split, Sweep, grid
from tests.support.options import asked
from tests.support.small_run import begin
from tests.support.small_sweeps import DRAWN, HONEST, REPORT, listed


def test_a_list_is_trained_on_every_fold_and_one_configuration_on_the_fold_it_names() -> None:
    folded = asked(HONEST, "--data=x", "--folds=5", "--seeds=0,1")
    assert (folded.split.folds, folded.trials) == (5, 4 * 5 * 2)
    single = asked(HONEST, "--data=x", "--folds=5", "--seeds=0,1", "--set=fold=3")
    assert single.trials == 4 * 2
    assert {single.space.config(pinned).fold for _, pinned in single.points()} == {3}
    with pytest.raises(ValueError, match="which has no folds, got 3"):
        asked(HONEST, "--data=x", "--set=fold=3")
    with pytest.raises(ValueError, match="this split is by slices"):
        asked(REPORT, "--data=x", "--folds=5")


def test_the_split_is_the_sweep_s_own_unless_asked_otherwise() -> None:
    assert asked(REPORT, "--data=x").split == REPORT.split
    honest = asked(REPORT, "--data=x", "--split=patients").split
    assert honest == Split(by="patients", validation=0.3, test=0.15)
    assert asked(DRAWN, "--data=x").split == Split()


def test_nobody_is_locked_unless_asked_and_a_run_keeps_the_share_that_it_locked(
    tmp_path: Path,
) -> None:
    words = ("--data=x", f"--storage={tmp_path}")
    assert asked(DRAWN, *words).split.test == 0
    split = {**asdict(Split(test=0.1)), "counts": {}, "shared_patients": 0}
    begin(tmp_path / DRAWN.name, split=split)  # by a version that locked a tenth by default
    assert asked(DRAWN, *words).split == Split(test=0.1)
    assert asked(DRAWN, *words, "--test=0").split.test == 0, "refused later, by its name"
    assert asked(DRAWN, *words, "--name=other").split.test == 0


def test_seeds_and_trials_of_a_list_come_from_the_command_line() -> None:
    assert asked(REPORT, "--data=x").strategy == REPORT.strategy
    assert asked(REPORT, "--data=x", "--seeds=4,5").trials == 8
    assert asked(REPORT, "--data=x", "--seed=7").strategy == Points(seeds=(7,))
    assert asked(REPORT, "--data=x", "--trials=5").trials == 5
    raced = replace(HONEST, strategy=Points(seeds=(1, 2), folds=5, race=True), split=Split(folds=5))
    assert asked(raced, "--data=x", "--seeds=1,2,3").strategy.race  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sweep", "word", "sentence"),
    [
        (DRAWN, "--seeds=0,1", "--seeds is for sweeps that run a fixed list"),
        (REPORT, "--grace=3", "--grace is for search sweeps"),
        (REPORT, "--encoders=resnet18", "--encoders is for search sweeps"),
        (REPORT, "--trials=0", "trials must be at least 1, got 0"),
        (REPORT, "--set=model.encoder.freeze=whole", "none of its 4 configurations agrees"),
    ],
)
def test_what_makes_no_sense_for_a_sweep_is_refused(sweep: Sweep, word: str, sentence: str) -> None:
    if "whole" in word:
        sweep = listed(REPORT_MODELS[1:], Points())  # type: ignore[arg-type]
        sentence = sentence.replace("4", "3")
    with pytest.raises(ValueError, match=sentence):
        asked(sweep, "--data=x", word)


def test_points_that_the_command_line_rules_out_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = asked(REPORT, "--data=x", "--set=model.encoder.name=vgg16").first
    assert list(left) == list(REPORT_MODELS[:2])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("model.encoder.name is fixed at vgg16" in line for line in lines)


def test_a_smoke_test_is_small_has_a_name_of_its_own_and_downloads_nothing() -> None:
    small = asked(REPORT, "--smoke")
    assert small.name == "s-smoke" and small.trials == 4 and small.split == REPORT.split
    for _, pinned in small.points():
        config = small.space.config(pinned)
        assert (config.image_size, config.epochs, config.seed) == (64, 2, 0)
        assert getattr(config.model, "weights", "none") == "none"
        assert getattr(config.model, "width", 4) == 4
    assert asked(DRAWN, "--smoke").trials == 4, "the first points, and nothing drawn"
    assert asked(DRAWN, "--smoke").strategy != DRAWN.strategy


def test_a_smoke_test_never_puts_random_weights_under_another_label(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = ("none", "imagenet", "medical:radimagenet-resnet50")
    small = asked(listed(grid({"model.encoder.weights": weights})), "--smoke")
    assert [point["model.encoder.weights"] for point in small.first] == ["none"]
    printed = capsys.readouterr().out
    assert "left out: model.encoder.weights=imagenet" in printed
    assert "left out: model.encoder.weights=medical:radimagenet-resnet50" in printed


def test_points_that_differ_in_epochs_alone_are_one_in_a_smoke_test() -> None:
    sweep = listed(grid({"model": ("plain", "encoder"), "epochs": (10, 20, 40)}))
    assert [dict(point) for point in asked(sweep, "--smoke").first] == [
        {"model": "plain"}, {"model": "encoder"}
    ]  # fmt: skip


def test_options_take_precedence_over_what_a_smoke_test_fixes() -> None:
    small = asked(REPORT, "--smoke", "--epochs=3", "--set=image_size=96", "--name=own")
    config = small.space.config({})
    assert (config.epochs, config.image_size, small.name) == (3, 96, "own")


def test_the_help_names_the_sweep_s_own_defaults() -> None:
    parser = Parser()
    add_sweep_options(parser, REPORT)
    text = " ".join(parser.format_help().split())
    assert (
        "4 configurations, each trained to its last epoch once per seed (0, 1, 2): 12 trials"
        in text
    )
    assert "(default: slices)" in text and "scores the trials (default: 0.3)" in text


def test_the_script_s_own_points_come_before_those_of_the_command_line(tmp_path: Path) -> None:
    tried = asked(REPORT, "--data=x", "--try=model=plain,model.plain.width=8").first
    assert list(tried[:4]) == list(REPORT_MODELS)
    assert dict(tried[4]) == {"model": "plain", "model.plain.width": 8}


def test_limits_of_the_script_hold_unless_the_command_line_has_its_own() -> None:
    limited = replace(DRAWN, budget=Budget(hours=5, patience=7))
    assert asked(limited, "--data=x").budget == limited.budget
    words = ("--trials=30", "--hours=2", "--device-hours=3", "--patience=4", "--terminator")
    budget = Budget(hours=2, device_hours=3, patience=4, terminator=True)
    assert asked(limited, "--data=x", *words).budget == budget
    assert asked(limited, "--smoke").budget == Budget(hours=5), "4 trials have no patience for 7"


def test_objectives_and_sampler_are_those_asked_for() -> None:
    sweep = asked(DRAWN, "--data=x", "--objectives=dice,parameters", "--sampler=tpe")
    assert sweep.objectives == ("dice", "parameters")
    assert isinstance(sweep.strategy, Bayes) and sweep.strategy.sampler == "tpe"


@pytest.mark.parametrize("word", ["--patience=2", "--terminator", "--sampler=gp", "--from=runs/x"])
def test_a_list_of_points_takes_no_option_of_a_search(word: str) -> None:
    with pytest.raises(ValueError, match="is for search sweeps, this one runs a fixed list"):
        asked(REPORT, "--data=x", word)
