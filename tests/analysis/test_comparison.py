"""Laws of the comparison, on small made-up confirmations: tied, worse, left out, refused, shown."""

import math
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from brainseg.analysis.comparison import MARGIN, Comparison, compare
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.cli.main import main
from brainseg.config.distributions import Params
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report import page, sentences
from brainseg.report.comparison import answer, print_comparison, write_comparison
from brainseg.report.results import Results
from tests.report.test_page import Tags
from tests.support.confirm_run import RESNET, SMALL, VGG, add_configuration, confirmation, scores
from tests.support.small_run import HOSTILE, begin, four_trials


def three_configurations(folder: Path) -> Run:
    """The first two as good as each other, the third far behind."""
    run = confirmation(folder)
    add_configuration(run, VGG, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.801, draw=2))
    add_configuration(run, SMALL, scores(0.7, draw=3))
    return run


def compared(run: Run, margin: float = MARGIN) -> Comparison:
    return compare(RunSnapshot.load(run), margin=margin)


def written(run: Run) -> str:
    return page.write_report(Results.load(run)).read_text(encoding="utf-8")


def shown(run: Run, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    print_comparison(RunSnapshot.load(run), compared(run), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


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


def test_the_answer_names_ties_what_would_be_significant_and_the_smallest_that_is_enough(
    tmp_path: Path,
) -> None:
    text = answer(compared(three_configurations(tmp_path)))
    assert text.startswith("resnet50, imagenet scored highest: mean Dice 0.80")
    assert "over 40 patients out of fold and 2 seeds" in text
    assert "Not significantly different from it: vgg16, imagenet." in text
    assert "more patients" in text or "too small to detect" in text
    assert "smallest configuration that is at most 0.02 Dice worse is vgg16" in text
    assert "23.0 million parameters instead of 32.0" in text


def test_patients_and_seeds_that_would_make_the_first_difference_significant_are_reported(
    tmp_path: Path,
) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.78, draw=1, spread=0.08))
    add_configuration(run, RESNET, scores(0.8, draw=2, spread=0.08))
    comparison = compared(run)
    second = comparison.configurations[1]
    more, gap = second.more_needed, -second.difference.mean
    assert more.patients and more.seeds is None
    assert (
        f"If the difference to vgg16, imagenet is really {gap:.3f}, as observed, {more.patients} "
        "more patients would make it significant; more seeds alone would not." in answer(comparison)
    )
    rows = pd.read_csv(write_comparison(RunSnapshot.load(run), comparison))
    assert rows["more_patients"][1] == more.patients and pd.isna(rows["more_seeds"][1])


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


def test_a_leader_that_is_also_the_smallest_is_reported_as_such(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, SMALL, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.7, draw=2))
    comparison = compared(run)
    assert comparison.smallest is comparison.configurations[0] and answer(comparison).endswith(
        "No configuration is smaller."
    )


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


def test_the_file_has_a_row_a_configuration_with_all_its_numbers(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    comparison = compared(run)
    path = write_comparison(RunSnapshot.load(run), comparison)
    rows = pd.read_csv(path)
    assert path.name == "compare.csv" and rows["place"].tolist() == [1, 2, 3]
    assert rows["tied"].tolist() == [True, True, False]
    assert rows["difference_low"][2] == pytest.approx(comparison.configurations[2].difference.low)
    assert (rows["difference_low"] <= rows["difference"]).all()
    assert (rows["difference"] <= rows["difference_high"]).all()
    assert rows["parameters"].tolist() == [32e6, 23e6, 14e6]
    assert rows["not_worse"].tolist() == [True, True, False]
    assert pd.isna(rows["p_holm"][0]) and not rows["leaks"].any()


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_the_table_and_what_it_rests_on(tmp_path: Path, width: int) -> None:
    text = shown(three_configurations(tmp_path), width)
    assert max(map(len, text.splitlines()[:-1])) <= width
    words = " ".join(text.split())
    for part in (
        "P(best)",
        "tied",
        "Holm's correction over all pairs",
        "highest score is high partly by luck",
    ):
        assert part in words


def test_whatever_a_name_holds_the_terminal_shows_it(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    run.note("0000", "done", configuration=HOSTILE)
    assert HOSTILE in " ".join(shown(run, 260).split())


def test_a_leak_and_made_up_patients_are_reported_wherever_the_comparison_is_shown(
    tmp_path: Path,
) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    made_up = {**read_json(begin(tmp_path / "other").sweep)["data"], "made_up": True}
    run = confirmation(
        tmp_path, folds=0, seeds=(0, 1), split=split | {"shared_patients": 3}, data=made_up
    )
    for luck, point in enumerate((VGG, RESNET)):
        add_configuration(run, point, scores(0.8, draw=luck), folds=0)
    for warning in (sentences.LEAK, sentences.MADE_UP):
        assert warning in " ".join(shown(run).split())
        section = written(run).split('<section id="comparison">')[1].split("</section>")[0]
        assert warning in Tags(section).text
    assert pd.read_csv(write_comparison(RunSnapshot.load(run), compared(run)))["leaks"].all()


def test_the_page_of_a_confirmation_leads_with_the_comparison(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    run.note("0000", "done", configuration=HOSTILE)  # the first trial names its configuration
    text = written(run)
    tags = Tags(text)
    assert "Comparison" in tags.text and "Not significantly different from it" in tags.text
    assert HOSTILE in tags.text and "script" not in tags.names
    assert "P(best)" in text and "verdict" in tags.text
    assert "Not yet confirmed" not in tags.text


def test_a_confirmation_under_way_says_why_it_has_no_comparison(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1))
    text = Tags(written(run)).text
    assert "Comparison" in text and "two or more configurations" in text


def test_the_page_of_a_search_has_no_comparison(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "search")
    assert ">Comparison<" not in written(run)


def test_the_command_writes_the_file_and_refuses_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = three_configurations(tmp_path / "good")
    main(["compare", str(run.path), "--margin", "0.05"])
    assert "scored highest" in capsys.readouterr().out
    assert (pd.read_csv(run.path / "compare.csv")["margin"] == 0.05).all()
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(four_trials(tmp_path / "search").path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


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
