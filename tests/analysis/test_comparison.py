"""Laws of the comparison, on small made-up confirmations: tied, worse, left out, refused."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.config.distributions import Params
from brainseg.records.run import Run
from brainseg.report.comparison import answer
from tests.support.confirm_run import (
    RESNET,
    SMALL,
    VGG,
    add_configuration,
    compared,
    confirmation,
    scores,
    three_configurations,
)
from tests.support.small_run import four_trials


def test_configurations_stand_in_the_order_of_their_means_over_patients_out_of_fold(
    tmp_path: Path,
) -> None:
    comparison = compared(three_configurations(tmp_path))
    assert [configuration.name.split(",")[0] for configuration in comparison.configurations] == [
        "resnet50",
        "vgg16",
        "resnet18",
    ]
    assert [
        configuration.dice.mean for configuration in comparison.configurations
    ] == pytest.approx([0.801, 0.8, 0.7], abs=2e-3)
    assert (comparison.patients, comparison.folds, comparison.seeds) == (40, 5, (0, 1))
    lead, second, third = comparison.configurations
    assert lead.difference.mean == 0 and second.difference.mean == pytest.approx(
        second.dice.mean - lead.dice.mean
    )
    assert third.device_seconds == 10 * 60.0
    assert sum(configuration.first for configuration in comparison.configurations) == pytest.approx(
        1
    )


def test_the_last_epoch_is_compared_not_the_best(tmp_path: Path) -> None:
    comparison = compared(three_configurations(tmp_path))
    assert all(configuration.dice.mean < 0.9 for configuration in comparison.configurations), (
        "patients.csv says 0.99"
    )


def test_configurations_that_are_alike_are_tied_and_one_far_behind_is_significantly_worse(
    tmp_path: Path,
) -> None:
    comparison = compared(three_configurations(tmp_path))
    assert [configuration.tied for configuration in comparison.configurations] == [
        True,
        True,
        False,
    ]
    third = comparison.configurations[2]
    assert third.p_holm >= third.p and third.p_holm < 0.01
    assert third.difference.high < 0 and third.difference.bca_high < 0


def test_two_configurations_with_the_same_scores_are_tied_with_equal_chances(
    tmp_path: Path,
) -> None:
    run = confirmation(tmp_path)
    for point in (VGG, RESNET):
        add_configuration(run, point, scores(0.8, draw=1, seeds=1))
    left, right = compared(run).configurations
    assert left.tied and right.tied and right.p == 1
    assert (left.first, right.first) == pytest.approx((0.5, 0.5))
    assert right.more_needed.patients is None and "too small to detect" in answer(compared(run))


def test_the_order_of_trials_does_not_change_the_answer(tmp_path: Path) -> None:
    run, other = three_configurations(tmp_path / "a"), confirmation(tmp_path / "b")
    add_configuration(other, SMALL, scores(0.7, draw=3))
    add_configuration(other, RESNET, scores(0.801, draw=2))
    add_configuration(other, VGG, scores(0.8, draw=1))
    ours, theirs = compared(run), compared(other)
    assert ours.configurations[1:] == theirs.configurations[1:]
    assert ours.configurations[0].dice == theirs.configurations[0].dice


def test_the_same_run_gives_the_same_figures_again(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    assert compared(run).configurations[1:] == compared(run).configurations[1:]


def test_where_seeds_disagree_more_seeds_would_make_the_difference_significant(
    tmp_path: Path,
) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.75, draw=1, spread=0.02) + np.array([[0.05], [-0.05]]))
    add_configuration(run, RESNET, scores(0.8, draw=2, spread=0.02))
    more = compared(run).configurations[1].more_needed
    assert more.seeds and f"{more.seeds} more seeds" in answer(compared(run))


def test_two_configurations_with_one_name_stay_separate(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    for luck, folder in enumerate(("mine", "theirs")):
        weights: Params = {**VGG, "model.encoder.weights": f"{folder}/best.pth"}
        add_configuration(run, weights, scores(0.8, draw=luck))
    assert [configuration.name for configuration in compared(run).configurations] == [
        "vgg16, best.pth"
    ] * 2


def test_a_wide_margin_includes_the_smallest_configuration_and_a_narrow_one_only_the_first(
    tmp_path: Path,
) -> None:
    run = three_configurations(tmp_path)
    wide, narrow = (
        compared(run, margin=0.3),
        compared(run, margin=1e-6),
    )
    assert wide.smallest is wide.configurations[2]
    assert narrow.smallest is narrow.configurations[0]
    assert "No smaller configuration is shown to be at most" in answer(narrow)


def test_without_recorded_sizes_none_is_called_the_smallest(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1), sizes=False)
    add_configuration(run, RESNET, scores(0.8, draw=2), sizes=False)
    comparison = compared(run)
    assert comparison.smallest is None and "smallest" not in answer(comparison)
    assert math.isnan(comparison.configurations[0].parameters)


def test_what_a_failed_trial_removes_from_the_comparison_is_reported(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.6, draw=4), fails={(1, 3): "out of memory"})
    comparison = compared(run)
    assert comparison.seeds == (0,) and len(comparison.configurations) == 2
    notes = " ".join(comparison.notes)
    assert "resnet50, imagenet is incomplete for seed 1 (trial" in notes
    assert (
        "failed: out of memory" in notes
        and "Compared on seed 0 only: some configurations lack seed 1." in notes
    )
    assert "One seed only: variation between seeds is not included." in notes


def test_the_failure_of_one_configuration_removes_no_seed_from_many_others(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    fails = {(1, 3): "out of memory"}
    add_configuration(run, {"model": "plain"}, scores(0.6, draw=4), fails=fails, sizes=False)
    comparison = compared(run)
    assert comparison.seeds == (0, 1) and len(comparison.configurations) == 3
    [note] = comparison.notes
    assert note.startswith("plain U-Net, width 64 is incomplete for seed 1 (trial")
    assert note.endswith("failed: out of memory); it is left out.")


def test_a_configuration_without_any_whole_seed_is_left_out_by_name(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    fails = {(0, 0): "not finite", (1, 4): "not finite"}
    add_configuration(run, {"model": "plain"}, scores(0.9, draw=4), fails=fails, sizes=False)
    comparison = compared(run)
    assert comparison.seeds == (0, 1) and len(comparison.configurations) == 3
    assert any("plain U-Net" in n and "it is left out" in n and "not finite" in n
               for n in comparison.notes)  # fmt: skip


def test_points_with_several_seeds_are_compared_on_their_validation_patients(
    tmp_path: Path,
) -> None:
    run = confirmation(tmp_path, folds=0, seeds=(0, 1, 2))
    add_configuration(run, VGG, scores(0.8, draw=1, seeds=3, patients=20), folds=0)
    add_configuration(run, RESNET, scores(0.6, draw=2, seeds=3, patients=20), folds=0)
    comparison = compared(run)
    assert (comparison.folds, comparison.patients, comparison.seeds) == (0, 20, (0, 1, 2))
    assert "20 patients in validation and 3 seeds" in answer(comparison)
    assert "It differs significantly from every other configuration." in answer(comparison)


def test_fewer_than_twenty_patients_are_reported_as_few(tmp_path: Path) -> None:
    run = confirmation(tmp_path, folds=2)
    for n, point in enumerate((VGG, RESNET, SMALL)):
        add_configuration(run, point, scores(0.5 + n / 5, draw=n, patients=6), folds=2)
    notes = " ".join(compared(run).notes)
    assert "simulated for 20 patients and more" in notes
    assert "With 6 patients and 3 configurations no difference can be significant." in notes


def refusal(run: Run, **more: float) -> str:
    with pytest.raises(ValueError) as caught:
        compared(run, **more)
    return str(caught.value)


def test_a_search_is_sent_to_confirm(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "search")
    assert f"run `brainseg confirm {run.path}` first" in refusal(run)


def test_points_with_one_seed_are_refused(tmp_path: Path) -> None:
    run = confirmation(tmp_path, folds=0, seeds=(0,))
    add_configuration(run, VGG, scores(0.8, draw=1, seeds=1), folds=0)
    assert "takes two or more seeds" in refusal(run) and "--seeds 0,1,2" in refusal(run)


def test_a_run_of_an_older_version_is_refused(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    for record in run.trials():
        run.trial(record.trial).last.unlink()
    assert "last.csv" in refusal(run) and "older version" in refusal(run)


def test_one_configuration_is_no_comparison(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1))
    assert "two or more configurations" in refusal(run) and "has 1" in refusal(run)


def test_five_patients_are_too_few_to_compare(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1, patients=5))
    add_configuration(run, RESNET, scores(0.2, draw=2, patients=5))
    assert "takes 6 or more patients" in refusal(run) and "has 5" in refusal(run)


@pytest.mark.parametrize("margin", [0.0, -0.1, 2.0, math.nan])
def test_a_margin_outside_0_and_1_is_refused(tmp_path: Path, margin: float) -> None:
    assert "a margin of Dice lies between 0 and 1" in refusal(
        three_configurations(tmp_path), margin=margin
    )


def test_patients_are_paired_by_name_whatever_the_order_of_their_rows(tmp_path: Path) -> None:
    run = confirmation(tmp_path, seeds=(0,))
    dice = scores(0.8, draw=1, seeds=1)
    add_configuration(run, VGG, dice)
    add_configuration(run, RESNET, dice - 0.01)
    for record in run.trials()[5:]:
        path = run.trial(record.trial).last
        pd.read_csv(path).iloc[::-1].to_csv(path, index=False)
    second = compared(run).configurations[1]
    gap = second.difference
    assert np.allclose([gap.low, gap.high, gap.mean], -0.01) and not second.tied
