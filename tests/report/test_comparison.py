"""A comparison in words, as a table, as a file and on the page, of small made-up confirmations."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.cli.main import main
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report import sentences
from brainseg.report.comparison import answer, print_comparison, write_comparison
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
from tests.support.reports import Tags, written
from tests.support.small_run import HOSTILE, begin, four_trials


def shown(run: Run, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    print_comparison(RunSnapshot.load(run), compared(run), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


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


def test_a_leader_that_is_also_the_smallest_is_reported_as_such(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    add_configuration(run, SMALL, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.7, draw=2))
    comparison = compared(run)
    assert comparison.smallest is comparison.configurations[0] and answer(comparison).endswith(
        "No configuration is smaller."
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
