"""Laws of the comparison, on small made-up confirmations: who may be the best, who is left out."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.config.distributions import Params
from brainseg.records.run import Run
from tests.support.confirm_run import (
    RESNET,
    SMALL,
    VGG,
    add_configuration,
    compared,
    confirmation,
    five_configurations,
    scores,
    three_configurations,
)
from tests.support.small_run import four_trials


def test_configurations_stand_in_the_order_of_their_means_over_patients_out_of_fold(
    tmp_path: Path,
) -> None:
    comparison = compared(three_configurations(tmp_path))
    lead, second, third = comparison.configurations
    assert [one.name.split(",")[0] for one in (lead, second, third)] == [
        "resnet50", "vgg16", "resnet18"
    ]  # fmt: skip
    assert [one.dice.mean for one in (lead, second, third)] == pytest.approx(
        [0.801, 0.8, 0.7], abs=2e-3
    )
    assert (comparison.patients, comparison.folds, comparison.seeds) == (40, 5, (1, 2))
    assert lead.to_best.mean == pytest.approx(lead.dice.mean - second.dice.mean)
    assert third.to_best.mean == pytest.approx(third.dice.mean - lead.dice.mean)
    assert third.device_seconds == 10 * 60.0
    assert sum(one.first for one in comparison.configurations) == pytest.approx(1)


def test_the_last_epoch_is_compared_not_the_best(tmp_path: Path) -> None:
    comparison = compared(three_configurations(tmp_path))
    assert all(configuration.dice.mean < 0.9 for configuration in comparison.configurations), (
        "patients.csv says 0.99"
    )


def test_of_two_alike_both_may_be_the_best_and_one_far_behind_may_not(tmp_path: Path) -> None:
    comparison = compared(three_configurations(tmp_path))
    assert [one.may_be_best for one in comparison.configurations] == [True, True, False]
    assert comparison.may_be_best == comparison.configurations[:2]
    third = comparison.configurations[2]
    assert third.to_best.low < -0.08 and third.to_best.high == 0
    alike, far, nearer = comparison.pairs
    assert (far.first, far.second) == (comparison.configurations[0].name, third.name)
    assert alike.p > 0.5 and far.p <= far.p_holm < 0.01 and nearer.p_holm < 0.01
    assert far.difference.low > 0


def test_each_seed_s_own_folds_are_seen_and_nothing_shared_is_claimed(tmp_path: Path) -> None:
    same = compared(three_configurations(tmp_path / "same"))
    anew = compared(five_configurations(tmp_path / "anew"))
    assert not same.cut_anew and anew.cut_anew


def test_folds_that_two_of_three_seeds_share_are_not_called_their_own(tmp_path: Path) -> None:
    run = confirmation(tmp_path, seeds=(0, 1, 2))
    for draw, point in enumerate((VGG, RESNET)):  # 0 and 1 by an earlier version, 2 added since
        add_configuration(run, point, scores(0.8, draw=draw, seeds=3))
    for folder in map(
        run.trial, [f"{n:04d}" for n in range(10, 15)] + [f"{n:04d}" for n in range(25, 30)]
    ):
        table = pd.read_csv(folder.last)
        table["patient"] = [f"p{(int(name[1:]) * 7) % 40:03d}" for name in table["patient"]]
        table.to_csv(folder.last, index=False)
    assert not compared(run).cut_anew


def test_the_race_costs_level_and_shows_who_left(tmp_path: Path) -> None:
    comparison = compared(five_configurations(tmp_path))
    [gone] = comparison.left
    assert gone.name.startswith("resnet18") and "swin" in gone.by
    assert gone.seeds == (1,) and (gone.difference, gone.bound) == (-0.12, -0.081)
    assert len(comparison.configurations) == 4 and comparison.seeds == (1, 2)


def test_the_patients_that_did_not_validate_the_search_are_asked_again(tmp_path: Path) -> None:
    unseen = compared(five_configurations(tmp_path)).unseen
    assert unseen and unseen.patients == 32
    assert unseen.leader in unseen.may_be_best
    assert compared(three_configurations(tmp_path / "none")).unseen is None


def test_failures_are_counted_beside_the_leader_s(tmp_path: Path) -> None:
    comparison = compared(five_configurations(tmp_path))
    counts = {one.name.split(",")[0]: one.failures for one in comparison.configurations}
    assert counts["vgg16"].count == counts["vgg16"].alone == 7
    assert counts["vgg16"].p == pytest.approx(2 * 0.5**7)
    assert comparison.configurations[0].failures.count == 0


def test_scans_of_one_person_count_once(tmp_path: Path) -> None:
    run = confirmation(tmp_path, patients=40, persons={1: 0, 2: 0, 3: 0})
    table = pd.read_csv(run.slices)
    for seed in (1, 2):  # one person is in one fold
        table.loc[1:3, f"fold_{seed}"] = table.loc[0, f"fold_{seed}"]
    table.to_csv(run.slices, index=False)
    add_configuration(run, VGG, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.7, draw=2))
    assert compared(run).patients == 37


def test_two_configurations_with_the_same_scores_have_equal_chances_and_no_promise(
    tmp_path: Path,
) -> None:
    run = confirmation(tmp_path)
    for point in (VGG, RESNET):
        add_configuration(run, point, scores(0.8, draw=1))
    comparison = compared(run)
    left, right = comparison.configurations
    assert left.may_be_best and right.may_be_best
    assert (left.first, right.first) == pytest.approx((0.5, 0.5))
    assert (right.to_best.low, right.to_best.high) == (0, 0)
    assert comparison.pairs[0].p == 1 and comparison.further is None


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


def test_more_patients_are_promised_where_they_would_tell_the_first_from_the_second(
    tmp_path: Path,
) -> None:
    """Of seven, so that the set asks for more than a difference of two errors."""
    run, lead = confirmation(tmp_path, patients=40), scores(0.8, draw=1)
    luck_P = np.random.default_rng(5).standard_normal(40)
    behind = lead - 0.021 - 0.06 * (luck_P - luck_P.mean()) / luck_P.std()
    encoders = ("vgg11", "vgg13", "vgg19", "resnet34", "resnet101")
    rest = [{"model.encoder.name": name} for name in encoders]
    for point, dice_SP in ((RESNET, lead), (VGG, behind), *((one, lead - 0.4) for one in rest)):
        add_configuration(run, point, dice_SP, sizes=False)
    comparison = compared(run)
    assert len(comparison.may_be_best) == 2 and comparison.further
    assert comparison.further.rival == comparison.configurations[1].name
    assert comparison.further.patients and comparison.further.patients > 10
    assert comparison == compared(run)


def test_two_configurations_with_one_name_stay_separate(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    for luck, folder in enumerate(("mine", "theirs")):
        weights: Params = {**VGG, "model.encoder.weights": f"{folder}/best.pth"}
        add_configuration(run, weights, scores(0.8, draw=luck))
    assert [configuration.name for configuration in compared(run).configurations] == [
        "vgg16, best.pth"
    ] * 2


def test_a_wide_margin_includes_the_smallest_configuration_and_a_narrow_one_none(
    tmp_path: Path,
) -> None:
    run = three_configurations(tmp_path)
    wide, narrow = compared(run, margin=0.3), compared(run, margin=1e-6)
    assert wide.smallest is wide.configurations[2]
    assert narrow.smallest is None and not any(map(narrow.not_worse, narrow.configurations))


def test_without_recorded_sizes_none_is_called_the_smallest(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1), sizes=False)
    add_configuration(run, RESNET, scores(0.8, draw=2), sizes=False)
    comparison = compared(run)
    assert comparison.smallest is None
    assert math.isnan(comparison.configurations[0].parameters)


def test_what_a_failed_trial_removes_from_the_comparison_is_reported(tmp_path: Path) -> None:
    run = confirmation(tmp_path, seeds=(1, 2, 3))
    add_configuration(run, VGG, scores(0.8, draw=1, seeds=3))
    broken = {(3, 3): "out of memory"}
    add_configuration(run, RESNET, scores(0.6, draw=4, seeds=3), fails=broken)
    comparison = compared(run)
    assert comparison.seeds == (1, 2) and len(comparison.configurations) == 2
    notes = " ".join(comparison.notes)
    assert "resnet50, imagenet is incomplete for seed 3 (trial" in notes
    assert "failed: out of memory" in notes
    assert "Compared on seeds 1 and 2 only: some configurations lack seed 3." in notes


def test_the_failure_of_one_configuration_removes_no_seed_from_many_others(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    fails = {(2, 3): "out of memory"}
    add_configuration(run, {"model": "plain"}, scores(0.6, draw=4), fails=fails, sizes=False)
    comparison = compared(run)
    assert comparison.seeds == (1, 2) and len(comparison.configurations) == 3
    [note] = comparison.notes
    assert note.startswith("plain U-Net, width 64 is incomplete for seed 2 (trial")
    assert note.endswith("failed: out of memory); it is left out.")


def test_a_configuration_without_any_whole_seed_is_left_out_by_name(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    fails = {(1, 0): "not finite", (2, 4): "not finite"}
    add_configuration(run, {"model": "plain"}, scores(0.9, draw=4), fails=fails, sizes=False)
    comparison = compared(run)
    assert comparison.seeds == (1, 2) and len(comparison.configurations) == 3
    [note] = comparison.notes
    assert "plain U-Net" in note and "it is left out" in note and "not finite" in note


def test_points_without_folds_are_compared_on_their_validation_patients(tmp_path: Path) -> None:
    run = confirmation(tmp_path, folds=0, seeds=(1, 2, 3, 4, 5))
    add_configuration(run, VGG, scores(0.8, draw=1, seeds=5, patients=20), folds=0)
    add_configuration(run, RESNET, scores(0.6, draw=2, seeds=5, patients=20), folds=0)
    comparison = compared(run)
    assert (comparison.folds, comparison.patients) == (0, 20)
    assert comparison.seeds == (1, 2, 3, 4, 5)
    assert [one.may_be_best for one in comparison.configurations] == [True, False]


def test_fewer_than_twenty_patients_are_reported_as_few(tmp_path: Path) -> None:
    run = confirmation(tmp_path, folds=2, seeds=(1, 2, 3))
    for n, point in enumerate((VGG, RESNET, SMALL)):
        add_configuration(run, point, scores(0.5 + n / 5, draw=n, patients=6, seeds=3), folds=2)
    assert "simulated for 20 patients and more" in " ".join(compared(run).notes)


def refusal(run: Run, **more: float) -> str:
    with pytest.raises(ValueError) as caught:
        compared(run, **more)
    return str(caught.value)


def test_a_search_is_sent_to_confirm(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "search")
    assert f"run `brainseg confirm {run.path}` first" in refusal(run)


@pytest.mark.parametrize(("folds", "seeds"), [(0, (1,)), (0, (1, 2, 3)), (2, (1, 2)), (5, (1,))])
def test_too_few_trainings_are_refused_with_what_to_add(
    tmp_path: Path, folds: int, seeds: tuple[int, ...]
) -> None:
    run = confirmation(tmp_path, folds=folds, seeds=seeds)
    for draw, point in enumerate((VGG, RESNET)):
        add_configuration(run, point, scores(0.8, draw=draw, seeds=len(seeds)), folds=folds)
    assert "folds x (seeds - 1) of 4 or more" in refusal(run) and "--seeds 1,2" in refusal(run)


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
    run = confirmation(tmp_path)
    dice_SP = scores(0.8, draw=1)
    add_configuration(run, VGG, dice_SP)
    add_configuration(run, RESNET, dice_SP - 0.01)
    for record in run.trials()[10:]:
        path = run.trial(record.trial).last
        pd.read_csv(path).iloc[::-1].to_csv(path, index=False)
    comparison = compared(run)
    [gap] = comparison.pairs
    assert (gap.difference.low, gap.difference.high) == pytest.approx((0.01, 0.01))
    assert [one.may_be_best for one in comparison.configurations] == [True, False]
