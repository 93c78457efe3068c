"""Dice against cost: which trials are Pareto-optimal, in words, as a table, as a picture."""

from pathlib import Path

from brainseg.analysis import pareto
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.run import Run
from brainseg.report.page import write_report
from brainseg.report.results import Results
from brainseg.report.sections.pareto import section
from tests.support.small_run import HOSTILE, begin, end, train
from tests.support.written import append_line

AIMS = ["dice", "parameters", "device_seconds"]


def three_done(folder: Path, aims: list[str]) -> Run:
    """0000 costs least, 0001 is best, 0002 is worse than 0001 and costs more."""
    run = begin(folder, objectives=aims)
    for trial, dice, parameters in (("0000", 0.6, 2e6), ("0001", 0.8, 3e7), ("0002", 0.7, 6e7)):
        train(run, trial, [0.1, dice], {"model.encoder.name": "vgg16"})
        rows = run.trial(trial).rows()
        run.trial(trial).metrics.unlink()
        for row in rows:
            append_line(run.trial(trial).metrics, {**row.to_json(), "parameters": parameters})
        end(run, trial, "done")
    train(run, "0003", [0.9], {"model.encoder.name": "vgg16"})
    end(run, "0003", "stopped", f"fell behind {HOSTILE}")
    return run


def test_only_complete_non_dominated_trials_are_on_the_pareto_front(tmp_path: Path) -> None:
    run = three_done(tmp_path, AIMS[:2])
    rows = pareto.pareto_rows(RunSnapshot.load(run))
    assert [(row["trial"], row["non_dominated"]) for row in rows] == [
        ("0001", True), ("0002", False), ("0000", True),
    ]  # fmt: skip
    assert pareto.sentence(rows) == (
        "Pareto-optimal in Dice and cost: 0001 (0.800), 0000 (0.600), of the 3 trials that ran to "
        "their last epoch."
    )


def test_a_sweep_for_dice_alone_has_no_pareto_front(tmp_path: Path) -> None:
    run = three_done(tmp_path, ["dice"])
    assert pareto.pareto_rows(RunSnapshot.load(run)) == []
    assert pareto.sentence([]) == "" and section(Results.load(run).pareto) is None


def test_the_page_has_the_pareto_front_with_a_picture_for_each_cost(tmp_path: Path) -> None:
    run = three_done(tmp_path, AIMS)
    shown = section(Results.load(run).pareto)
    assert shown and shown.count("<svg") == 2 and "30,000,000" in shown
    text = write_report(Results.load(run)).read_text()
    assert "Dice against cost" in text and "<script>alert" not in text
