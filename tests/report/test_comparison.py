"""A comparison in words, as a table, as a file and on the page, of small made-up confirmations."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from brainseg.analysis.power import Further
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.cli.main import main
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report import sentences
from brainseg.report.comparison import answer, details, variation
from brainseg.report.comparison_tables import print_comparison, write_comparison
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
from tests.support.reports import Tags, printed, written
from tests.support.small_run import HOSTILE, begin, four_trials


def shown(run: Run, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    print_comparison(RunSnapshot.load(run), compared(run), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_answer_names_who_may_be_the_best_and_how_the_first_scored(tmp_path: Path) -> None:
    text = answer(compared(five_configurations(tmp_path)))
    assert text.startswith(
        "3 of 5 configurations may be the best (95 %): tu-swin_tiny_patch4_window7_224, imagenet / "
        "resnet50, imagenet / mobilenet_v2, imagenet. The first of them scored highest: mean Dice "
        "0.820 (95 % interval 0.7"
    )
    assert text.endswith("over 40 patients out of fold, 5 folds and 2 seeds.")


def test_one_configuration_that_beats_all_others_is_the_best(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1))
    add_configuration(run, SMALL, scores(0.6, draw=2))
    assert answer(compared(run)).startswith(
        "vgg16, imagenet is the best: no other configuration may be (95 %). Its mean Dice is 0.800 "
        "(95 % interval 0.7"
    )


def test_configurations_that_cannot_be_told_apart_are_said_to_be(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    for draw, point in enumerate((VGG, RESNET, SMALL)):
        add_configuration(run, point, scores(0.8, draw=draw))
    assert answer(compared(run)).startswith(
        "These patients and trainings cannot tell the 3 configurations apart: each may be the best "
        "(95 %)."
    )


def test_the_details_say_what_changes_the_smallest_that_is_enough_failures_and_the_race(
    tmp_path: Path,
) -> None:
    *_, unseen, small, failed, left = details(compared(five_configurations(tmp_path)))
    assert unseen == (
        "The search chose these configurations on 8 of the patients. On the other 32 "
        "the same configurations may be the best."
    )
    assert small.startswith("No smaller configuration is shown to be at most 0.02 Dice worse")
    assert failed == (
        "tu-swin_tiny_patch4_window7_224, imagenet failed on 0 of 40 patients (Dice below "
        "0.1), which still allows up to 9 %. The number differs significantly from that of vgg16, "
        "imagenet (7, McNemar p 0.016)."
    )
    assert left == (
        "Beaten early, and trained with no further seed: resnet18, imagenet after seed 1, at least "
        "0.081 below tu-swin_tiny_patch4_window7_224, imagenet."
    )


def test_how_much_more_would_tell_the_first_two_is_said_or_nothing(tmp_path: Path) -> None:
    run = five_configurations(tmp_path)
    more = Further(rival="resnet50, imagenet", patients=74, seeds=None)
    comparison = replace(compared(run), further=more)
    told = "would tell tu-swin_tiny_patch4_window7_224, imagenet from resnet50, imagenet with 80 %"
    assert details(comparison)[0] == f"74 more patients {told}; more seeds alone would not."
    both = replace(comparison, further=replace(more, seeds=1))
    assert details(both)[0] == f"74 more patients or 1 more seed {told}."
    assert "80 %" not in " ".join(details(replace(comparison, further=None)))
    rows = pd.read_csv(write_comparison(RunSnapshot.load(run), comparison))
    assert rows["more_patients"][1] == 74 and rows["more_seeds"].isna().all()
    assert rows["more_patients"].isna().tolist() == [True, False, True, True, True]


def test_an_answer_that_changes_without_the_searchs_patients_is_told(tmp_path: Path) -> None:
    comparison = compared(five_configurations(tmp_path))
    assert comparison.unseen
    other = replace(comparison.unseen, leader="B", may_be_best=("A", "B"))
    assert details(replace(comparison, unseen=other, further=None))[0].endswith(
        "On the other 32 these may be the best: A / B, and B scores highest."
    )


def test_the_smallest_that_is_enough_is_named_with_its_size(tmp_path: Path) -> None:
    text = " ".join(details(compared(three_configurations(tmp_path))))
    assert "smallest configuration that is at most 0.02 Dice worse is vgg16" in text
    assert "23.0 million parameters instead of 32.0" in text


def test_a_leader_that_is_also_the_smallest_is_reported_as_such(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, SMALL, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.7, draw=2))
    comparison = compared(run)
    assert comparison.smallest is comparison.configurations[0]
    assert "No configuration is smaller than the first." in details(comparison)


def test_what_the_intervals_include_and_what_locking_costs_is_told(tmp_path: Path) -> None:
    run = five_configurations(tmp_path)
    comparison, sweep = compared(run), RunSnapshot.load(run).sweep
    sources = variation(comparison, sweep)
    assert sources["Inside the intervals"] == (
        "Other patients of the same kind, other seeds, other training sets of the same size from "
        "the same source (each seed has folds of its own)."
    )
    assert sources["Not inside"].startswith("Other hospitals, scanners and annotators, other")
    assert sources["Locked patients"] == "10, which makes every interval about 12 % wider."
    same = variation(replace(comparison, cut_anew=False), {"split": {"counts": {}}})
    assert same["Inside the intervals"] == "Other patients of the same kind, other seeds."
    assert same["Not inside"].startswith(
        "Other training sets of the same size (seeds share the same folds), other hospitals"
    )
    assert "Locked patients" not in same


def test_the_file_has_a_row_a_configuration_with_all_its_numbers(tmp_path: Path) -> None:
    run = five_configurations(tmp_path)
    comparison = compared(run)
    path = write_comparison(RunSnapshot.load(run), comparison)
    rows = pd.read_csv(path)
    assert path.name == "compare.csv" and rows["place"][:4].tolist() == [1, 2, 3, 4]
    assert rows["may_be_best"].tolist() == [True, True, True, False, False]
    assert rows["may_be_best_unseen"][:3].all()
    assert rows["to_best_low"][1] == pytest.approx(comparison.configurations[1].to_best.low)
    assert rows["to_best_high"][3] == 0
    assert rows["failed"].tolist()[:4] == [0, 0, 2, 7]
    assert rows["parameters"][0] == 28e6 and not rows["leaks"].any()
    left = rows.iloc[4]
    assert pd.isna(left["place"]) and left["beaten_by"].startswith("tu-swin")
    assert left["beaten_bound"] == -0.081 and left["seeds"] == "1" and rows["seeds"][0] == "1 2"


def test_every_pair_is_written_and_printed_on_request_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = five_configurations(tmp_path)
    main(["compare", str(run.path)])
    assert "Holm" not in capsys.readouterr().out and not (run.path / "pairs.csv").exists()
    main(["compare", str(run.path), "--pairs"])
    shown = capsys.readouterr().out
    assert "Holm p" in shown and str(run.path / "pairs.csv") in "".join(shown.split("\n"))
    rows = pd.read_csv(run.path / "pairs.csv")
    assert len(rows) == 6 and (rows["p"] <= rows["p_holm"]).all()
    assert (rows["low"] < rows["difference"]).all() and (rows["difference"] < rows["high"]).all()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_shows_the_table_and_what_it_rests_on(tmp_path: Path, width: int) -> None:
    run = five_configurations(tmp_path)
    text = shown(run, width)
    assert max(len(line) for line in text.splitlines() if str(run.path) not in line) <= width
    words = " ".join(text.split())
    for part in ("P(best)", "left", "at most -0.081", "With 95 % the truly best one is among",
                 "highest score of many is high partly by luck"):  # fmt: skip
        assert part in words
    assert "+0.000" not in words  # an interval that ends at 0 ends there


def test_no_difference_has_no_sign(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    for point in (VGG, RESNET):
        add_configuration(run, point, scores(0.8, draw=1))
    for text in (shown(run), Tags(written(run)).text):
        assert "0.000 to 0.000" in text and "-0.000" not in text and "+0.000" not in text


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
        tmp_path, folds=0, seeds=range(5), split=split | {"shared_patients": 3}, data=made_up
    )
    for luck, point in enumerate((VGG, RESNET)):
        add_configuration(run, point, scores(0.8, draw=luck, seeds=5), folds=0)
    for warning in (sentences.LEAK, sentences.MADE_UP):
        assert warning in " ".join(shown(run).split())
        section = written(run).split('<section id="comparison">')[1].split("</section>")[0]
        assert warning in Tags(section).text
    assert pd.read_csv(write_comparison(RunSnapshot.load(run), compared(run)))["leaks"].all()


def test_the_page_of_a_confirmation_leads_with_the_comparison(tmp_path: Path) -> None:
    run = five_configurations(tmp_path)
    run.note("0000", "done", configuration=HOSTILE)  # the first trial names its configuration
    text = written(run)
    tags = Tags(text)
    assert "Comparison" in tags.text and "3 of 5 configurations may be the best" in tags.text
    assert HOSTILE in tags.text and "script" not in tags.names
    assert "P(best)" in text and "left the race" in tags.text
    assert "Inside the intervals" in tags.text and "Locked patients" in tags.text
    assert "Not yet confirmed" not in tags.text


def test_a_confirmation_under_way_says_why_it_has_no_comparison(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, VGG, scores(0.8, draw=1))
    text = Tags(written(run)).text
    assert "Not compared: a comparison takes two or more configurations" in text


def of_means(run: Run) -> str:
    """The section of the page that shows the means over seeds."""
    section = written(run).split('<section id="over-seeds">')[1].split("</section>")[0]
    return Tags(section).text


def test_a_seed_that_is_not_done_yet_is_the_reason_and_the_means_are_there(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    fails = {(2, fold): "out of memory" for fold in range(5)}
    for draw, point in enumerate((VGG, RESNET)):
        add_configuration(run, point, scores(0.8, draw=draw), fails=fails if draw else None)
    why = "Not compared: of seeds 1 and 2 the configurations have only seed 1 in common so far; "
    for text in (Tags(written(run)).text, " ".join(printed(run).split())):
        assert f"{why}5 of 20 trials failed" in text and "with --retry-failed" in text
        assert "imagenet scored highest: mean Dice 0.8" in text
    assert "vgg16, imagenet" in of_means(run) and "resnet50, imagenet" in of_means(run)


def test_an_old_run_of_2_folds_and_2_seeds_says_what_to_add_and_shows_its_means(
    tmp_path: Path,
) -> None:
    run = confirmation(tmp_path, folds=2, seeds=(0, 1))
    for draw, point in enumerate((VGG, RESNET)):
        add_configuration(run, point, scores(0.8, draw=draw), folds=2)
    for text in (Tags(written(run)).text, " ".join(printed(run).split())):
        assert (
            "Not compared: a comparison takes folds x (seeds - 1) of 4 or more, to tell how much "
            "trainings vary, got 2 x 1 = 2; take 3 seeds, such as --seeds 0,1,2, or 4 folds"
        ) in text
    assert "vgg16, imagenet" in of_means(run) and "0.800" in of_means(run)


def test_the_ranking_of_a_confirmation_leads_with_the_answer_and_names_the_command(
    tmp_path: Path,
) -> None:
    run = five_configurations(tmp_path)
    text = " ".join(printed(run).split())
    assert "3 of 5 configurations may be the best (95 %)" in text
    assert f"The whole comparison: `brainseg compare {run.path}`." in text


def test_the_page_of_a_search_has_no_comparison(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "search")
    assert ">Comparison<" not in written(run)


def test_the_command_writes_the_file_and_refuses_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = three_configurations(tmp_path / "good")
    main(["compare", str(run.path), "--margin", "0.05"])
    assert "may be the best" in capsys.readouterr().out
    assert (pd.read_csv(run.path / "compare.csv")["margin"] == 0.05).all()
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(four_trials(tmp_path / "search").path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
