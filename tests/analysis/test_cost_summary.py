"""What an answer cost: nothing is counted twice, nothing recorded is left out."""

from pathlib import Path

import pytest
from rich.console import Console

from brainseg.analysis.cost_summary import summarise_costs, unit_of
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.run import Run
from brainseg.records.timing import PHASES, PhaseTimer
from brainseg.report import page, terminal
from brainseg.report.results import Results
from tests.support.small_run import begin, end, four_trials, train
from tests.support.written import append_line

COMPILE_COLUMN = '<th class="n">compile</th>'


def pay(run: Run, trial: str, *epochs: int, device: str = "cpu", threads: int = 2) -> None:
    """Costs of 100 s an epoch on each of two devices: 10, 60, 20 and 10, as earlier runs did."""
    for epoch in epochs:
        parts = {"start": 10.0, "train": 60.0, "score": 20.0, "keep": 10.0}
        place = {"devices": 2, "device": device, "threads": threads}
        append_line(run.trial(trial).costs_path, {"epoch": epoch, **parts, **place})


def test_a_timer_charges_all_the_time_once() -> None:
    timer = PhaseTimer()
    timer.charge("setup")
    timer.charge("train")
    first = timer.read()
    assert set(first) == set(PHASES.values()) and min(first.values()) >= 0
    assert first["score"] == first["keep"] == 0
    assert set(timer.read().values()) == {0.0}


def test_a_timer_charges_compiling_apart_whatever_phase_it_falls_into() -> None:
    compiled = [5.0]
    timer = PhaseTimer(lambda: compiled[0])
    timer.charge("setup")
    compiled[0] += 2
    timer.charge("train")
    spent = timer.read()
    assert spent["compile"] == 2 and spent["train"] == pytest.approx(-2, abs=0.1)
    timer.charge("validate")
    assert timer.read()["compile"] == 0


def test_every_note_of_costs_counts_and_rows_count_only_where_there_is_no_note(
    tmp_path: Path,
) -> None:
    run = begin(tmp_path / "run")
    train(run, "0000", [0.3, 0.4, 0.5])  # 30 s an epoch on two devices, by the rows
    assert run.trial("0000").device_seconds() == 3 * 60
    pay(run, "0000", 1, 2, 2)  # the second was repeated after a crash
    assert run.trial("0000").device_seconds() == 3 * 200 + 60
    assert run.trial("0000").ending().device_seconds == 660


def test_costs_add_up_by_phase_and_by_how_trials_ended(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "run")
    costs = summarise_costs(RunSnapshot.load(run))
    assert costs.trials["trial"].tolist() == ["0000", "0001", "0002", "0003"]
    assert costs.trials["total"].tolist() == [120, 180, 60, 120]
    sums = costs.by_phase().set_index("state")
    assert set(sums["phase"]) == {"search"}
    assert sums["total"].sum() == 480 == sums[list(PHASES.values())].to_numpy().sum()
    assert sums.loc["stopped", "trials"] == 1 and sums.loc["stopped", "epochs"] == 2


def test_a_trial_stopped_early_saved_what_its_other_epochs_would_have_cost(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    train(run, "0000", [0.3, 0.4], {"epochs": 5})
    pay(run, "0000", 1, 2)
    end(run, "0000", "stopped")
    trial = summarise_costs(RunSnapshot.load(run)).trials.iloc[0]
    assert trial["saved_epochs"] == 3
    assert trial["saved"] == 3 * 180  # without the start, which is paid once
    assert (
        "stopping 1 trial early saved about 9.0"
        in summarise_costs(RunSnapshot.load(run)).sentence()
    )


def test_the_cost_of_an_answer_includes_its_search(tmp_path: Path) -> None:
    search = begin(tmp_path / "encoders", uid="aaaa")
    train(search, "0000", [0.3])
    pay(search, "0000", *range(1, 37))
    end(search, "0000", "done")
    named = {"search": str(tmp_path / "encoders"), "uid": "aaaa"}
    confirm = begin(tmp_path / "confirm", phase="confirm", confirms=named)
    train(confirm, "0000", [0.3])
    pay(confirm, "0000", *range(1, 19), threads=1)
    end(confirm, "0000", "done")
    assert summarise_costs(RunSnapshot.load(confirm)).sentence() == (
        "This answer cost 3.0 device-hours: 2.0 to search, 1.0 to confirm "
        "(a device: one worker on 1 or 2 CPUs)."
    )
    moved = (tmp_path / "encoders").rename(tmp_path / "elsewhere")
    assert summarise_costs(RunSnapshot.load(confirm)).sentence().endswith(
        f"; the run in {named['search']} is not included: its folder is not there."
    )  # fmt: skip
    moved.rename(tmp_path / "encoders")
    begin(tmp_path / "encoders", uid="bbbb")  # another search of the same name
    assert summarise_costs(RunSnapshot.load(confirm)).missing == named["search"]


def test_a_device_is_called_what_it_is(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    train(run, "0000", [0.3])
    assert "(a device: what a worker held)" in summarise_costs(RunSnapshot.load(run)).sentence()
    pay(run, "0000", 1, device="cuda")
    assert summarise_costs(RunSnapshot.load(run)).device == "one GPU"


def test_report_and_page_show_what_the_answer_cost(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "run")
    console = Console(record=True, width=200)
    terminal.print_ranking(Results.load(run), console)
    assert "This answer cost 8.0 device-minutes so far" in console.export_text()
    text = page.write_report(Results.load(run)).read_text(encoding="utf-8")
    assert "What it cost" in text and "This answer cost 8.0 device-minutes so far" in text


def test_time_to_compile_is_a_phase_of_the_runs_that_compiled(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    train(run, "0000", [0.3, 0.4], {"epochs": 5})
    pay(run, "0000", 1)
    assert COMPILE_COLUMN not in page.write_report(Results.load(run)).read_text(encoding="utf-8")
    parts = {"start": 0.0, "compile": 30.0, "train": 60.0, "score": 20.0, "keep": 10.0}
    append_line(run.trial("0000").costs_path, {"epoch": 2, "devices": 2, **parts})
    end(run, "0000", "stopped")
    assert run.trial("0000").device_seconds() == 2 * (100 + 120)
    trial = summarise_costs(RunSnapshot.load(run)).trials.iloc[0]
    assert (trial["compile"], trial["total"]) == (60, 440)
    assert trial["saved"] == 3 * 180  # an epoch that is left out would not have compiled again
    assert COMPILE_COLUMN in page.write_report(Results.load(run)).read_text(encoding="utf-8")


def test_a_run_without_a_trial_cost_nothing(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    assert (
        summarise_costs(RunSnapshot.load(run))
        .sentence()
        .startswith("This answer cost 0.0 device-seconds")
    )
    assert summarise_costs(RunSnapshot.load(run)).by_phase().empty
    assert "What it cost" not in page.write_report(Results.load(run)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("seconds", "name"), [(5, "device-seconds"), (60, "device-minutes"), (3600, "device-hours")]
)
def test_the_unit_is_the_one_that_reads_best(seconds: float, name: str) -> None:
    assert unit_of(seconds)[1] == name
