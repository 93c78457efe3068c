"""A race: who cannot be the best gets no further seed, and no driver's death changes that."""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainseg.analysis.comparison import compare
from brainseg.analysis.race import tail
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.cli.main import BAD_INPUT, INTERRUPTED
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Split, Sweep
from brainseg.data.dataset import read_data
from brainseg.data.phantom import write_phantoms
from brainseg.launch.race import judge_of
from brainseg.records.repair import repair
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
from tests.launch.test_failed_trials import once
from tests.launch.test_run_folder import begun, silent
from tests.support.racing import FOLDS, HEIGHTS, PATIENTS, RACED, Racer, left, planned
from tests.support.sweeps import brainseg
from tests.support.written import append_line

HOPELESS = 1e-1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Racer:
    racer = Racer(Run(tmp_path_factory.mktemp("runs") / "undisturbed"))
    racer.drive()
    return racer


def outcome(racer: Racer) -> tuple[object, ...]:
    """All that a race came to, whatever its trials are called."""
    bounds = [(line["difference"], line["bound"]) for line in racer.run.left_race()]
    dice = {point: record.dice for point, record in racer.trained().items()}
    return left(racer.run), bounds, dice, racer.search.ended


def test_a_hopeless_configuration_leaves_after_the_first_seed_and_the_others_stay(
    undisturbed: Racer,
) -> None:
    assert left(undisturbed.run) == [(HOPELESS, (1,)), (2e-3, (1, 2))]
    trained = Counter(rate for rate, _, _ in undisturbed.trained())
    assert trained == {1e-3: 3 * FOLDS, 5e-3: 3 * FOLDS, 2e-3: 2 * FOLDS, HOPELESS: FOLDS}
    first = [record.params["seed"] for record in undisturbed.run.trials()]
    assert first == sorted(first), "a seed is done before the next one begins"
    line = undisturbed.said[0]
    assert line.startswith("plain U-Net, width 64; lr 0.1 (Dice -0.39"), line
    assert line.endswith(") leaves the race after seed 1") and "at most -0.3" in line


def test_the_end_says_who_left_and_the_counts_are_true(undisturbed: Racer) -> None:
    assert undisturbed.search.num_trials == len(undisturbed.run.trials()) == 45
    assert (RACED.trials, undisturbed.search.up_to) == (60, "")
    assert undisturbed.search.ended == (
        "all 45 trials were tried; 2 of 4 configurations left the race"
    )


def test_the_bound_is_that_of_the_looks_which_are_planned(tmp_path: Path) -> None:
    bounds = []
    for seeds in ((1, 2), (1, 2, 3)):
        racer = Racer(Run(tmp_path / str(len(seeds))), planned(RACED, seeds=seeds))
        racer.drive(4 * FOLDS + 1)
        named = dict(zip(dict(left(racer.run)), racer.run.left_race(), strict=True))
        bounds.append(named[HOPELESS]["bound"])
    assert tail(4, looks=1, last=False) == 2 * tail(4, looks=2, last=False)
    assert bounds[0] < bounds[1] < 0, "more looks, each at a lower level"


@pytest.mark.parametrize("lost", [False, True])
def test_a_race_whose_driver_dies_after_each_trial_comes_to_the_same(
    tmp_path: Path, undisturbed: Racer, lost: bool
) -> None:
    run = Run(tmp_path / "killed")
    for n in range(200):
        racer = Racer(run)
        if racer.search.is_over():
            break
        name = racer.search.next()
        assert name, "nothing else runs"
        if n % 3 == 0:
            continue  # dies before it trained anything
        racer.train(name)
        if lost and n % 10 == 5:
            run.journal.unlink()
    assert outcome(racer) == outcome(undisturbed)


@pytest.mark.parametrize("moment", ["before it is noted", "noted", "half queued", "half a line"])
def test_a_race_whose_driver_dies_at_a_look_comes_to_the_same(
    tmp_path: Path, undisturbed: Racer, moment: str
) -> None:
    killed = Racer(Run(tmp_path / "killed"))
    killed.drive(4 * FOLDS)
    if moment == "half a line":
        killed.run.race.write_text('{"time": "2026-11-30T20:00:00+00:00", "seeds": [1')
        repair(killed.run)
    elif moment != "before it is noted":
        judge_of(killed.run, RACED, killed.said.append)((1,))
    if moment == "half queued":
        second = [point for point in RACED.points() if point[1]["seed"] == 2]
        killed.study.queue(second[:2])
    noted = killed.run.race.read_text() if killed.run.race.exists() else ""
    after = Racer(killed.run)
    after.drive()
    assert outcome(after) == outcome(undisturbed)
    assert killed.run.race.read_text().startswith(noted)
    again = [line for line in after.said if "after seed 1" in line]
    assert len(again) == (not noted), "what was noted is not decided again"


def test_a_driver_that_dies_between_queueing_anew_and_giving_up_trains_nothing_twice(
    tmp_path: Path,
) -> None:
    killed = Racer(Run(tmp_path / "killed"))
    lost = killed.study.study.ask()  # and then it dies, before its config was written
    killed.study.study.enqueue_trial({}, user_attrs=lost.user_attrs)  # so does the next one
    after = Racer(killed.run)
    after.drive()
    assert after.search.num_trials == len(after.run.trials()) == len(after.trained())


def test_a_seed_waits_for_all_trials_of_the_seed_before(tmp_path: Path) -> None:
    racer = Racer(Run(tmp_path), slots=3)
    racer.drive(4 * FOLDS - 2)
    last = [racer.search.next() or "", racer.search.next() or ""]
    assert racer.search.next() is None and racer.search.may_continue() and not racer.search.ended
    racer.train(last[0])
    assert racer.search.next() is None and racer.search.may_continue() and not racer.said
    assert (racer.search.up_to, racer.search.num_trials) == ("up to ", 60)
    racer.train(last[1])
    name = racer.search.next()
    assert name and racer.study.params(name)["seed"] == 2 and racer.said
    assert racer.search.num_trials == 60 - 2 * FOLDS * len(left(racer.run))


def test_a_configuration_with_a_failed_trial_stays_and_can_be_tried_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    racer = Racer(run, fails=[(HOPELESS, 1, 2)])
    racer.drive(4 * FOLDS + 1)
    assert HOPELESS not in dict(left(run)), "it is not compared"
    failed = next(r.trial for r in run.trials() if r.state == "failed")
    assert Racer(run, retry=True).search.next() == failed
    again = Racer(run)
    again.drive()
    assert again.trained()[HOPELESS, 1, 2].state == TrialState.DONE
    assert dict(left(run))[HOPELESS] == (1, 2), "at the next look it is compared"


def test_nobody_leaves_where_fewer_than_two_are_complete(tmp_path: Path) -> None:
    fails = [(rate, 1, 0) for rate in HEIGHTS if rate != HOPELESS]
    racer = Racer(Run(tmp_path), fails=fails)
    racer.drive(4 * FOLDS + 1)
    assert racer.said == [
        "after seed 1 nobody leaves the race: fewer than two configurations are complete"
    ]
    assert not racer.run.race.exists() and len(racer.run.trials()) == 4 * FOLDS + 1
    after = Racer(racer.run)
    after.drive()
    assert all("after seeds 1, 2" in line for line in after.said), "seed 2 had begun"


def test_nobody_leaves_where_a_comparison_would_have_too_few_patients(tmp_path: Path) -> None:
    racer = Racer(Run(tmp_path), patients=5)
    racer.drive(4 * FOLDS + 1)
    assert racer.said == [
        "after seed 1 nobody leaves the race: 5 patients are too few to compare on"
    ]


def test_the_first_trials_alone_are_trained_and_more_follow_when_asked(
    tmp_path: Path, undisturbed: Racer
) -> None:
    run = Run(tmp_path)
    first = Racer(run, planned(RACED, trials=4 * FOLDS + 2))
    assert first.search.num_trials == 4 * FOLDS + 2
    first.drive()
    assert len(run.trials()) == 4 * FOLDS + 2 and "all 22 trials were tried" in first.search.ended
    assert Racer(run, planned(RACED, trials=22)).search.is_over()
    rest = Racer(run)
    rest.drive()
    assert outcome(rest) == outcome(undisturbed)


def test_seeds_that_are_added_later_race_on_and_earlier_decisions_stand(tmp_path: Path) -> None:
    run = Run(tmp_path)
    two = Racer(run, planned(RACED, seeds=(1, 2)))
    two.drive()
    assert two.search.is_over() and (HOPELESS, (1,)) in left(run)
    noted = run.race.read_text()
    three = Racer(run)
    assert not three.search.is_over()
    three.drive()
    assert run.race.read_text().startswith(noted)
    assert all("after seeds 1, 2" in line for line in three.said), "one look, after both"
    trained = three.trained()
    assert (1e-3, 3, 0) in trained and not any((HOPELESS, seed, 0) in trained for seed in (2, 3))


@pytest.mark.parametrize("steps", [FOLDS, 4 * FOLDS + 3, 8 * FOLDS])
def test_a_race_under_way_is_reported_and_compared_or_refused_in_a_sentence(
    tmp_path: Path, steps: int
) -> None:
    racer = Racer(Run(tmp_path))
    racer.drive(steps)
    racer.search.next()
    done = brainseg("report", str(racer.run.path))
    assert done.status == 0 and racer.run.report.exists(), done
    try:
        compared = compare(RunSnapshot.load(racer.run))
    except ValueError as refused:
        assert steps < 8 * FOLDS and "run the same command again to train" in str(refused)
    else:
        left_after = {gone.name.split("lr ")[1]: gone.seeds for gone in compared.left}
        assert left_after == {"0.1": (1,), "0.002": (1, 2)}
        assert compared.patients == PATIENTS and "left the race" in racer.run.report.read_text()


def lose_table(run: Run, line: dict[str, Any]) -> None:
    run.trial(line["trial"]).last.unlink()


def damage_table(run: Run, line: dict[str, Any]) -> None:
    run.trial(line["trial"]).last.write_text("x,y\n1,2\n")


def lose_lines(run: Run, line: dict[str, Any]) -> None:
    """Those of the trial that the configuration was beaten by."""
    lines = run.changes.read_text().splitlines(keepends=True)
    rest = [text for text in lines if json.loads(text)["trial"] != line["by"]]
    run.changes.write_text("".join(rest))


@pytest.mark.parametrize("damage", [lose_table, damage_table, lose_lines])
def test_what_one_that_left_has_lost_costs_no_more_than_its_figures(
    tmp_path: Path, undisturbed: Racer, damage: Callable[[Run, dict[str, Any]], None]
) -> None:
    run = Run(shutil.copytree(undisturbed.run.path, tmp_path / "damaged"))
    damage(run, run.left_race()[0])
    for verb in ("compare", "report"):
        done = brainseg(verb, str(run.path))
        assert done.status == 0, done
    assert "left the race" in run.report.read_text()
    assert Racer(Run(run.path)).search.is_over(), "nobody who left is trained again"


HELD: Params = {
    "model": "plain",
    "model.plain.width": 4,
    "model.plain.depth": 2,
    "image_size": 32,
    "batch_size": 4,
    "epochs": 8,
}
RATES = (1e-2, 2e-2, 1e-7)  # with the last one no weight moves


def searched(storage: Path) -> Run:
    """A search over made-up patients in which three learning rates seemed to be the best."""
    patients = write_phantoms(storage / "patients", patients=8, slices=5, size=32)
    space = Space(TrialConfig(), search=("optimizer.adamw.lr",), fixed=HELD)
    sweep = Sweep(name="s", question="Which rate?", space=space, split=Split(test=0))
    run = begun(read_data(str(patients), "auto", silent), Run(storage / "runs/s"), sweep)
    for number, rate in enumerate(RATES):
        config = space.config({"optimizer.adamw.lr": rate})
        trial, words = f"{number:04d}", configuration_name(config)
        run.note(trial, TrialState.RUNNING, configuration=words, params=flatten(config))
        row = {"epoch": 1, "dice": 0.5, "best_dice": 0.5, "best_epoch": 1, "seconds": 1.0}
        append_line(run.trial(trial).metrics, row | {"devices": 1})
        run.note(trial, TrialState.DONE, dice=0.5, epoch=8, best_epoch=1, device_seconds=8.0)
    return run


@pytest.mark.cluster
def test_a_confirmation_races_on_after_its_driver_was_ended_at_the_look(tmp_path: Path) -> None:
    search = searched(tmp_path)
    words = ["confirm", str(search.path), "--folds=4", "--seeds=1,2", "--baselines=none"]
    run = Run(search.path.parent / "s-confirm")
    with once(run.race.exists, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        ended = brainseg(*words, "--wandb=off")
    assert ended.status == INTERRUPTED, ended
    assert "3 configurations x 4 folds x 2 seeds = up to 24 trials, each to its" in ended.stdout
    assert "; 1 of up to 24 trials ended" in ended.stdout
    assert "lr 1e-07 (Dice -" in ended.stdout and "leaves the race after seed 1" in ended.stdout
    (noted,) = run.left_race()
    assert run.record(noted["trial"]).params["optimizer.adamw.lr"] == 1e-7
    done = brainseg(*words, "--wandb=off")
    assert done.status == 0, done
    assert "; 20 of 20 trials ended" in done.stdout
    assert "all 20 trials were tried; 1 of 3 configurations left the race" in done.stdout
    assert run.left_race() == [noted] and run.is_whole()
    assert {record.state for record in run.trials()} == {TrialState.DONE}
    seeds = Counter((r.params["optimizer.adamw.lr"], r.params["seed"]) for r in run.trials())
    assert set(seeds.values()) == {4} and (1e-7, 2) not in seeds and len(seeds) == 5
    refused = brainseg(*words, "--race=off")
    assert refused.status == BAD_INPUT and "was started with a race" in refused.stderr
    compared = brainseg("compare", str(run.path))
    assert compared.status == 0 and "lr 1e-07" in compared.stdout, compared
