"""A journal that lost lines, or all, is written again; no trial is lost, none trained twice."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from brainseg.config.sweep import Bayes
from brainseg.records.files import read_json
from brainseg.records.repair import repair
from brainseg.records.run import Run
from brainseg.search.study import Study
from tests.support.search_driver import LISTED, SWEEP, Driver, end
from tests.support.written import new_run

SEARCH = replace(SWEEP, strategy=Bayes(trials=7, grace_epochs=1, reduction=3, sampler="tpe"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("runs") / "undisturbed")
    Driver(run, SEARCH).drive()
    return run


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same search, whose driver died after six steps."""
    run = Run(tmp_path_factory.mktemp("runs") / "interrupted")
    driver = Driver(run, SEARCH)
    driver.drive(5)
    driver.search.next()
    return run


def table(run: Run) -> list[tuple[str, object, object, object, object]]:
    return [(r.trial, r.state, r.dice, r.epoch, r.params) for r in run.trials()]


def damage_of(share: float) -> Callable[[Path], None]:
    def cut(journal: Path) -> None:
        content = journal.read_bytes()
        journal.write_bytes(content[: int(share * len(content))])

    return cut


def garble(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[len(lines) // 2] = b"\0" * 80 + b"\n"
    journal.write_bytes(b"".join(lines))


def turn(journal: Path) -> None:
    """Lines that are whole but make no study."""
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(reversed(lines)))


DAMAGES = {
    **{f"cut at {share}": damage_of(share) for share in (0.999, 0.97, 0.9, 0.7, 0.5, 0.2, 0.01)},
    "emptied": damage_of(0),
    "removed": Path.unlink,
    "a line in the middle lost": garble,
    "lines in another order": turn,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_search_whose_journal_was_damaged_ends_as_an_undisturbed_one(
    tmp_path: Path, undisturbed: Run, interrupted: Run, damage: Callable[[Path], None]
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(interrupted.path, run.path)
    damage(run.journal)
    repair(run)
    driver = Driver(run, SEARCH)
    driver.drive()
    assert driver.search.ended == "all 7 trials were tried"
    assert table(run) == table(undisturbed)
    finished = [t for t in driver.study.study.get_trials() if t.state == TrialState.COMPLETE]
    done = [r for r in run.trials() if r.state == "done"]
    assert [(f"{t.number:04d}", t.value) for t in finished] == [(r.trial, r.dice) for r in done]


def test_a_journal_that_fits_the_trials_is_left_alone(
    interrupted: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(interrupted.path, run.path)
    before = run.journal.read_bytes()
    Study(run, SEARCH)
    assert run.journal.read_bytes().startswith(before) and not capsys.readouterr().out
    assert not list(run.path.glob("study.journal.*"))


def test_what_was_written_again_is_said_and_the_damaged_journal_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(tmp_path)
    study = Study(run, SWEEP)
    end(study, study.ask(), "done", 0.5)
    lines = run.journal.read_bytes().splitlines(keepends=True)
    kept = b"".join(lines[: 2 + len(SWEEP.first) + 1])  # the points and their mark
    run.journal.write_bytes(kept)
    assert Study(run, SWEEP).unfinished() == []
    assert capsys.readouterr().out == (
        f"{run.journal} has other values of trial 0000: it is written again from the trials' "
        "folders\n"
    )
    assert (tmp_path / "study.journal.damaged").read_bytes().startswith(kept)


@pytest.mark.parametrize("lost", ["its last line", "all of it"])
def test_an_end_that_only_optuna_knows_is_noted_and_the_trial_is_not_trained_again(
    tmp_path: Path, lost: str
) -> None:
    run = new_run(tmp_path)
    study = Study(run, LISTED)
    for state, dice in (("done", 0.5), ("stopped", 0.4), ("failed", None)):
        end(study, study.ask(), state, dice)
    whole = run.changes.read_bytes().splitlines(keepends=True)
    run.changes.write_bytes(b"".join(whole[:-1]) if lost == "its last line" else b"")
    again = Run(tmp_path)
    assert Study(again, LISTED).unfinished() == []
    assert [r.state for r in again.trials()] == ["done", "stopped", "failed"]
    assert again.trials()[0].params == again.trial("0000").params()


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_without_the_changes_the_folders_still_say_what_ended_and_what_is_paused(
    undisturbed: Run, interrupted: Run, tmp_path: Path, journal: str
) -> None:
    for number, source in enumerate((undisturbed, interrupted)):
        run = Run(tmp_path / str(number))
        shutil.copytree(source.path, run.path)
        known = {r.trial: (r.state, r.dice) for r in run.trials() if r.state != "running"}
        run.changes.unlink()
        if journal == "lost":
            run.journal.unlink()
        Study(run, SEARCH, log=lambda line: None)
        assert {r.trial: (r.state, r.dice) for r in run.trials()} == known


def test_a_driver_killed_while_it_writes_the_journal_again_leaves_the_old_one(
    tmp_path: Path,
) -> None:
    run = new_run(tmp_path)
    study = Study(run, LISTED)
    end(study, study.ask(), "done", 0.5)
    (tmp_path / "study.journal.new").write_text("half of a n")
    run.journal.unlink()
    study = Study(run, LISTED)
    assert study.study.trials[0].state == TrialState.COMPLETE
    assert study.ask() == "0001" and not (tmp_path / "study.journal.new").exists()


def test_a_config_that_was_set_aside_is_proposed_again(tmp_path: Path) -> None:
    run, sweep = new_run(tmp_path), LISTED
    study = Study(run, sweep)
    first, second = study.ask(), study.ask()
    run.note(first, "running", params=study.params(first))
    params = read_json(run.trial(second).config)
    for name in (first, second):
        run.trial(name).config.write_bytes(b"")
    assert len(repair(run)) == 2
    again = Study(run, sweep)
    assert again.unfinished() == [first]
    points = [again.params(again.ask()) for _ in range(len(sweep.first) * 2 - 1)]
    assert points.count(params) == 1, "queued again, at the end"
