"""Subgroups: who is in them, figures by the comparison's estimator, and when there are none."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.study_simulator import World, study
from brainseg.analysis.best_set import pairwise
from brainseg.analysis.estimate import Trainings, estimate
from brainseg.analysis.scores import gather
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.analysis.subgroups import Subgroup, subgroups
from brainseg.records.run import Run
from tests.support.grouped_run import LOST, by_site


def groups(run: Run, kind: str) -> dict[str, Subgroup]:
    return {group.name: group for group in subgroups(RunSnapshot.load(run)) if group.kind == kind}


def test_a_difference_at_one_site_shows_there_and_not_elsewhere(tmp_path: Path) -> None:
    sites = groups(by_site(tmp_path, "A" * 12 + "B" * 10), "site")
    assert {name: group.patients for name, group in sites.items()} == {"A": 12, "B": 10}
    leader, behind = sites["B"].scores
    assert leader.name.startswith("resnet50") and leader.difference.mean == 0
    assert behind.difference.mean == pytest.approx(-LOST, abs=0.03)
    assert behind.difference.high < 0 and behind.dice.high < leader.dice.low
    assert sites["A"].scores[1].difference.low < 0 < sites["A"].scores[1].difference.high


def test_a_group_is_estimated_as_a_comparison_of_its_patients_alone(tmp_path: Path) -> None:
    run = RunSnapshot.load(by_site(tmp_path, "A" * 12 + "B" * 10))
    scores = gather(run, folds=5)
    dice_CSP, trainings = scores.dice_CSP[:, :, :12], Trainings(scores.fold_SP[:, :12])
    [site, *_] = subgroups(run)
    assert site.scores[1].difference == pairwise(dice_CSP, trainings)[1][0].of_difference()
    assert site.scores[0].dice == estimate(dice_CSP[0], trainings).of_dice()


def test_few_patients_have_a_mean_and_a_count_and_no_interval(tmp_path: Path) -> None:
    sites = groups(by_site(tmp_path, "A" * 12 + "B" * 5), "site")
    assert sites["B"].patients == 5
    behind = sites["B"].scores[1]
    assert behind.difference.mean == pytest.approx(-LOST, abs=0.03)
    assert math.isnan(behind.difference.low) and math.isnan(behind.dice.high)


def test_thirds_of_the_tumour_s_volume_are_told_in_millilitres(tmp_path: Path) -> None:
    run = by_site(tmp_path, "A" * 9 + "B" * 9, pixels=[1000 * n for n in range(1, 19)], mm=2.0)
    assert {name: group.patients for name, group in groups(run, "tumour size").items()} == {
        "up to 53 ml": 6,
        "above 53, up to 99 ml": 6,
        "above 99 ml": 6,
    }


def test_without_spacing_a_tumour_is_as_large_as_its_pixels(tmp_path: Path) -> None:
    run = by_site(tmp_path, "A" * 9 + "B" * 9, mm=math.nan)
    assert "up to 567 pixels" in groups(run, "tumour size")


@pytest.mark.parametrize("sites", ["A" * 18, "-" * 18, "A" * 9 + "-" * 9])
def test_one_site_is_no_group(tmp_path: Path, sites: str) -> None:
    assert not groups(by_site(tmp_path, sites), "site")


def test_patients_of_an_unknown_site_stand_beside_those_of_known_ones(tmp_path: Path) -> None:
    sites = groups(by_site(tmp_path, "A" * 9 + "B" * 9 + "-" * 3), "site")
    assert {name: group.patients for name, group in sites.items()} == {
        "A": 9,
        "B": 9,
        "unknown": 3,
    }


def test_where_all_tumours_are_alike_or_sizes_are_not_recorded_there_are_none(
    tmp_path: Path,
) -> None:
    run = by_site(tmp_path, "A" * 18, pixels=[7] * 18)
    assert not subgroups(RunSnapshot.load(run))
    table = pd.read_csv(run.slices)
    table.drop(columns=["tumour_pixels", "site"]).to_csv(run.slices, index=False)
    assert not subgroups(RunSnapshot.load(run))
    run.slices.unlink()
    assert not subgroups(RunSnapshot.load(run))


def test_scans_of_one_person_count_once_with_their_mean_size(tmp_path: Path) -> None:
    run = by_site(tmp_path, "A" * 9 + "B" * 9)
    table = pd.read_csv(run.slices)
    person = table["patient"].where(table.index != 17, "p000")
    for seed in (1, 2):  # their scans are in one fold
        table.loc[17, f"fold_{seed}"] = table.loc[0, f"fold_{seed}"]
    table.assign(person=person).to_csv(run.slices, index=False)
    sizes = groups(run, "tumour size")
    assert sum(group.patients for group in sizes.values()) == 17
    [largest] = [group for name, group in sizes.items() if name.startswith("above 1")]
    assert largest.patients == 6, "p000 is 850 pixels large, in the middle"


@pytest.mark.parametrize("patients", [6, 20])
def test_intervals_of_small_groups_cover_the_truth(patients: int) -> None:
    rng, world, studies, held = np.random.default_rng(0), World(noise="noisy"), 200, 0
    for _ in range(studies):
        dice_CSP, fold_SP = study(rng, world)[:2]
        trainings = Trainings(fold_SP[:, :patients])
        gap = pairwise(dice_CSP[:, :, :patients], trainings)[1][0].of_difference()
        held += gap.low <= 0 <= gap.high
    assert held / studies >= 0.92
