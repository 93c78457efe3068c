"""A confirmation trains what led the search, locks whom it locked, and scores every patient."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.cli.main import main
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.origins import Origin
from brainseg.config.schema import build, flatten
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Points, Split, Sweep
from brainseg.data.dataset import read_data
from brainseg.data.partition import counts
from brainseg.data.phantom import write_phantoms
from brainseg.data.table import read_table
from brainseg.records.files import read_json, read_lines
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
from brainseg.search.confirmation import confirmation, expected_seconds, ranked_configurations
from tests.launch.test_run_folder import begun, silent
from tests.support.mirroring import offline_records
from tests.support.sweeps import brainseg
from tests.support.tables import refused
from tests.support.written import append_line, write_json

HELD: Params = {
    "model.encoder.weights": "none",
    "model.plain.width": 4,
    "model.plain.depth": 2,
    "image_size": 32,
    "batch_size": 4,
    "epochs": 1,
}
SEARCH = Sweep(
    name="encoders",
    question="Which?",
    space=Space(
        TrialConfig(), search=("model", "model.encoder.name", "optimizer.adamw.lr"), fixed=HELD
    ),
    first=REPORT_MODELS,
    split=Split(test=0.25, seed=3),
)


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=8, slices=5, size=32)


def tried(run: Run, point: Params, dice: float, state: Any = "done", seconds: float = 10.0) -> str:
    """Note a trial of the search as it ended."""
    trial, config = f"{len(run.trials()):04d}", SEARCH.space.config(point)
    run.note(trial, "running", configuration=configuration_name(config), params=flatten(config))
    row = {"epoch": 1, "dice": dice, "best_dice": dice, "best_epoch": 1}
    append_line(run.trial(trial).metrics, {**row, "seconds": seconds, "devices": 2})
    run.note(trial, state, dice=dice, epoch=1, best_epoch=1, device_seconds=2 * seconds)
    return trial


@pytest.fixture
def search(patients: Path, tmp_path: Path) -> Run:
    """A search in which a plain U-Net is best, and one of the report's four second."""
    run = begun(read_data(str(patients), "auto", silent), Run(tmp_path / "runs/encoders"), SEARCH)
    tried(run, {"model": "plain", "optimizer.adamw.lr": 2e-3}, 0.8)
    tried(run, {"model.encoder.name": "vgg16"}, 0.7, seconds=40)
    tried(run, {"model": "plain", "optimizer.adamw.lr": 4e-3}, 0.9, state="stopped")
    tried(run, {"model.encoder.name": "resnet18"}, 0.95, state="failed")
    tried(run, {"model": "plain", "optimizer.adamw.lr": 2e-3, "seed": 4}, 0.5)
    return run


def names(sweep: Sweep) -> list[str]:
    return [configuration_name(sweep.space.config(point)) for point in sweep.first]


def origins(sweep: Sweep) -> Sequence[Origin]:
    assert sweep.confirms
    return sweep.confirms.origins


def test_the_best_configurations_come_first_and_then_the_baselines(search: Run) -> None:
    sweep = confirmation(search, top=2, baselines="report")
    assert names(sweep) == [
        "vgg16, random weights",
        "plain U-Net, width 4",
        "plain U-Net, width 4",
        "resnet50, random weights",
        "resnet50, random weights, first 2 frozen",
    ]
    assert origins(sweep) == (
        Origin("0001", baseline=True),  # led the search, and is one of the report's
        Origin("0000", baseline=False),
        Origin("", baseline=True),
        Origin("", baseline=True),
        Origin("", baseline=True),
    )
    assert sweep.first[1]["optimizer.adamw.lr"] == 2e-3
    assert sweep.trials == 5 * 5 * 2 and sweep.phase == "confirm"
    usual = confirmation(search, top=2)
    assert names(usual) == names(sweep)[:3], "the plain U-Net is the only baseline unless asked"
    assert origins(usual)[1:] == (Origin("0000", baseline=False), Origin("", baseline=True))


def test_seeds_are_those_that_the_search_did_not_use(search: Run) -> None:
    assert isinstance(strategy := confirmation(search).strategy, Points)
    assert strategy.seeds == (1, 2), "the search used 0 and 4"
    tried(search, {"model": "plain", "seed": 1}, 0.5)
    assert isinstance(strategy := confirmation(search).strategy, Points)
    assert strategy.seeds == (2, 3)


def test_configurations_are_ranked_by_the_mean_over_seeds_and_failed_ones_are_out(
    search: Run,
) -> None:
    ranked = ranked_configurations(search)
    assert [(configuration.trial, configuration.dice) for configuration in ranked] == [
        ("0001", 0.7),
        ("0000", pytest.approx(0.65)),
        ("0002", 0.9),
    ], "what was stopped early comes after all that ran to their end"
    assert {(configuration.config.seed, configuration.config.fold) for configuration in ranked} == {
        (0, 0)
    }


def test_a_trial_that_was_stopped_early_counts_where_too_few_are_done(search: Run) -> None:
    sweep = confirmation(search, top=3, baselines="none")
    assert [origin.trial for origin in origins(sweep)] == ["0001", "0000", "0002"]
    assert len(confirmation(search, top=9, baselines="none").first) == 3


def test_every_configuration_is_trained_with_the_search_s_own_settings(search: Run) -> None:
    sweep = confirmation(search)
    for _, pinned in sweep.points():
        config = sweep.space.config(pinned)
        assert (config.image_size, config.batch_size, config.epochs) == (32, 4, 1)
        assert getattr(config.model, "weights", "none") == "none"


def test_points_of_a_search_over_points_count_once_whatever_their_seeds(
    patients: Path, tmp_path: Path
) -> None:
    listed = replace(
        SEARCH,
        space=Space(TrialConfig(), search=(), fixed=HELD),
        strategy=Points(seeds=(0, 1), folds=2),
        split=Split(folds=2),
    )
    run = begun(read_data(str(patients), "auto", silent), Run(tmp_path / "runs/encoders"), listed)
    for seed in (0, 1):
        for fold in (0, 1):
            tried(run, {"model": "plain", "seed": seed, "fold": fold}, 0.5)
    assert len(confirmation(run, baselines="none").first) == 1


def test_the_cost_is_foretold_by_what_an_epoch_of_the_search_took(search: Run) -> None:
    sweep = confirmation(search, top=2, folds=3, seeds=(1, 2, 3), baselines="report")
    usual = (20 + 80 + 20 + 20 + 20) / 5  # device-seconds an epoch, where the search has no such
    assert expected_seconds(search, sweep) == pytest.approx(9 * (80 + 20 + 3 * usual))


def begin_confirming(search: Run, sweep: Sweep) -> Run:
    data = read_data(read_json(search.sweep)["data"]["root"], "auto", silent)
    return begun(data, Run(search.path.parent / sweep.name), sweep)


def test_it_locks_the_very_patients_that_the_search_locked(search: Run) -> None:
    table = read_table(search.slices)
    names = sorted(set(table["patient"]))  # as an older version might have drawn them
    table["part"] = table["patient"].map(lambda name: "test" if name in names[:3] else "train")
    table.loc[table["patient"] == names[-1], "part"] = "validation"
    table.to_csv(search.slices, index=False)
    run = begin_confirming(search, confirmation(search, folds=4))
    confirmed = read_table(run.slices)
    assert confirmed["part"].equals(table["part"]), "who validated the search is still told apart"
    for seed in (1, 2):
        assert set(confirmed.loc[confirmed[f"fold_{seed}"] >= 0, "patient"]) == set(names[3:])
    assert RunSnapshot.load(run).validated_search == {names[-1]}


def test_a_trial_whose_configuration_is_lost_says_nothing_of_who_validated_the_search(
    patients: Path, tmp_path: Path
) -> None:
    listed = replace(
        SEARCH,
        space=Space(TrialConfig(), search=(), fixed=HELD),
        first=REPORT_MODELS,
        strategy=Points(seeds=(5,), folds=4),
        split=Split(folds=4),
    )
    run = begun(read_data(str(patients), "auto", silent), Run(tmp_path / "runs/encoders"), listed)
    tried(run, {"model": "plain", "seed": 5, "fold": 1}, 0.5)
    run.note("0001", TrialState.FAILED)
    folds = read_table(run.slices)
    confirmed = begin_confirming(run, confirmation(run))
    validated = RunSnapshot.load(confirmed).validated_search
    assert validated == set(folds.loc[folds["fold_5"] == 1, "patient"])


def test_who_validated_a_search_in_folds_are_the_patients_of_the_fold_it_used(
    patients: Path, tmp_path: Path
) -> None:
    in_folds = replace(SEARCH, split=Split(folds=4))
    run = begun(read_data(str(patients), "auto", silent), Run(tmp_path / "runs/encoders"), in_folds)
    for fold in (1, 3):
        tried(run, {"model": "plain", "fold": fold}, 0.5)
    table = read_table(run.slices)
    confirmed = begin_confirming(run, confirmation(run))
    chosen = set(table.loc[table["fold"].isin([1, 3]), "patient"])
    assert RunSnapshot.load(confirmed).validated_search == chosen and len(chosen) == 4


def test_it_is_recorded_what_is_confirmed_and_why(search: Run) -> None:
    sweep = confirmation(search, top=1, baselines="report")
    known = read_json(begin_confirming(search, sweep).sweep)
    assert known["phase"] == "confirm" and read_json(search.sweep)["phase"] == "search"
    assert known["confirms"] == {
        "search": str(search.path),
        "name": "encoders",
        "uid": read_json(search.sweep)["uid"],
        "top": 1,
        "arms": [{"trial": "0001", "baseline": True}] + [{"trial": "", "baseline": True}] * 3,
    }
    assert known["split"]["folds"] == 5 and known["strategy"]["folds"] == 5
    assert len(known["first"]) == 4


def test_a_confirmation_keeps_its_configurations_however_the_search_continues(search: Run) -> None:
    sweep = confirmation(search, folds=4, baselines="report")
    beside = begin_confirming(search, sweep)
    tried(search, {"model": "plain", "optimizer.adamw.lr": 1e-3, "clip_norm": 0.5}, 0.99)
    tried(search, {"model": "plain", "seed": 1}, 0.5)
    assert confirmation(search) == sweep, "and its settings, without their options"
    assert confirmation(search, folds=4, baselines="report") == sweep
    begin_confirming(search, confirmation(search))
    further = confirmation(search, seeds=(1, 2, 3))
    assert further.first == sweep.first and len(further.points()) == len(sweep.points()) * 3 / 2
    options: tuple[dict[str, Any], ...] = (
        {"top": 1},
        {"folds": 5},
        {"baselines": "plain"},
        {"seeds": (1,)},
        {"seeds": (2, 1, 3)},
    )
    for other in options:
        assert refused(partial(confirmation, search, **other)).startswith(
            f"{beside.path} was started with --top 3 --folds 4 --seeds 1,2 --baselines report, "
            "which cannot be changed to --top "
        )
    assert "--seeds 1,2,3 adds a seed" in refused(lambda: confirmation(search, top=1))
    begin_confirming(search, further)
    assert confirmation(search) == further


def test_the_confirmation_of_another_search_of_that_name_is_left_alone(search: Run) -> None:
    beside = begin_confirming(search, confirmation(search))
    known = read_json(search.sweep)
    write_json(search.sweep, known | {"uid": "other"})  # searched anew in an emptied folder
    assert refused(lambda: confirmation(search)) == (
        f"{beside.path} holds the confirmation of another search, not that of {search.path}; move "
        "that folder away, or give it back its search"
    )


def test_one_of_an_earlier_version_keeps_its_two_folds_and_seeds_and_may_get_more(
    search: Run,
) -> None:
    beside = begin_confirming(search, confirmation(search, folds=2, seeds=(0, 1, 2)))
    known, table = read_json(beside.sweep), read_table(beside.slices)
    table["fold"] = table["fold_0"]  # as versions wrote it whose seeds had the same folds
    table["part"] = table["part"].where(table["part"] == "test", "train")
    old = table.drop(columns=["fold_0", "fold_1", "fold_2"])
    old.to_csv(beside.slices, index=False)
    strategy = known["strategy"] | {"seeds": [0, 1]}
    split = known["split"] | {"counts": counts(old)}
    write_json(beside.sweep, known | {"strategy": strategy, "split": split})
    sweep = confirmation(search)
    assert isinstance(sweep.strategy, Points)
    assert (sweep.strategy.seeds, sweep.strategy.folds) == ((0, 1), 2)
    begin_confirming(search, sweep)
    assert read_table(beside.slices).equals(old)
    begin_confirming(search, confirmation(search, seeds=(0, 1, 2)))
    assert list(read_table(beside.slices)) == [*old, "fold_2"]


def races(sweep: Sweep) -> bool:
    assert isinstance(sweep.strategy, Points)
    return sweep.strategy.race


def test_a_confirmation_races_unless_it_was_started_without(search: Run) -> None:
    assert races(confirmation(search)) and not races(confirmation(search, race=False))
    two = confirmation(search, top=2, baselines="none", race=True)
    assert len(two.first) == 2 and not races(two), "of two configurations both stay"
    run = begin_confirming(search, confirmation(search))
    assert read_json(run.sweep)["strategy"]["race"]
    assert confirmation(search) == confirmation(search, race=True)
    message = refused(lambda: confirmation(search, race=False))
    assert "was started with a race, and a race spends half of the error" in message
    known = read_json(run.sweep)
    del known["strategy"]["race"]  # as older versions left it
    write_json(run.sweep, known)
    begin_confirming(search, older := confirmation(search))
    assert not races(older)
    assert "was started without a race" in refused(lambda: confirmation(search, race=True))


def test_data_that_are_not_the_search_s_are_refused(search: Run, tmp_path: Path) -> None:
    known = read_json(search.sweep)
    write_json(search.sweep, known | {"data": known["data"] | {"fingerprint": "0" * 16}})
    message = refused(lambda: begin_confirming(search, confirmation(search)))
    assert "a confirmation must use the files of its search" in message


def without_scores(search: Run) -> list[str]:
    lines = search.changes.read_text().splitlines(keepends=True)
    search.changes.write_text("".join(line for line in lines if '"state": "running"' in line))
    return [str(search.path)]


def by_slices(search: Run) -> list[str]:
    known = read_json(search.sweep)
    write_json(search.sweep, known | {"split": known["split"] | {"shared_patients": 2}})
    return [str(search.path)]


def confirmed_already(search: Run) -> list[str]:
    return [str(begin_confirming(search, confirmation(search, folds=4)).path)]


def moved(search: Run) -> list[str]:
    known = read_json(search.sweep)
    write_json(search.sweep, known | {"data": known["data"] | {"root": "/gone/away"}})
    return [str(search.path)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (lambda search: ["no/such"], "RUN must be a sweep's folder, no/such holds no sweep.json"),
        (without_scores, "has no finished trial with a score yet; let the search continue"),
        (by_slices, "search again with --split patients"),
        (confirmed_already, "is itself the confirmation of "),
        (moved, "/gone/away is no folder; name their new place with --data"),
        (lambda search: [str(search.path), "--top=0"], "top must be at least 1"),
        (
            lambda search: [str(search.path), "--folds=2"],
            "got 2 x 1 = 2; take 3 seeds, such as --seeds 1,2,3, or 4 folds",
        ),
        (lambda search: [str(search.path), "--seeds=1"], "got 5 x 0 = 0; take 2 seeds"),
        (
            lambda search: [str(search.path), "--baselines=plane"],
            "must be plain, report or none, got 'plane'; did you mean 'plain'?",
        ),
        (lambda search: [str(search.path), "--folds=1"], "folds must be at least 2"),
        (lambda search: [str(search.path), "--folds=0"], "folds must be at least 2"),
        (lambda search: [str(search.path), "--seeds=1,1"], "seeds must be one or more different"),
        (lambda search: [str(search.path), "--folds=7"], "there are 6 for 7 folds; use 6 folds"),
        (lambda search: [str(search.path), "--trials=0"], "trials must be at least 1"),
        (lambda search: [str(search.path), "--data=no"], "no is no folder"),
    ],
    ids=lambda value: "" if callable(value) else value[:30],
)
def test_bad_input_is_one_sentence_and_no_trial(
    search: Run, capsys: pytest.CaptureFixture[str], words: Any, sentence: str
) -> None:
    asked = words(search)
    before = sorted(search.path.parent.glob("*/trials.jsonl"))
    with pytest.raises(SystemExit) as ended:
        main(["confirm", *asked])
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2 and len(lines) == 1
    assert lines[0].startswith("brainseg: ") and sentence in lines[0]
    assert sorted(search.path.parent.glob("*/trials.jsonl")) == before


def confirm(search: Run) -> str:
    words = ["--top=2", "--folds=2", "--seeds=5,0,6", "--baselines=none", "--wandb=offline"]
    done = brainseg("confirm", str(search.path), *words, "--trials=8")
    assert done.status == 0, done
    return done.stdout


@pytest.mark.ray
def test_every_patient_is_scored_once_a_configuration_and_seed_by_networks_that_never_saw_it(
    search: Run,
) -> None:
    tried(search, {"model": "plain", "optimizer.adamw.lr": 1e-3}, 0.85)
    tried(search, {"model": "plain", "optimizer.adamw.lr": 3e-3}, 0.84)
    printed = confirm(search)
    assert (
        "2 configurations x 2 folds x 3 seeds = 12 trials, each to its last epoch; the first 8 of "
        "them now: " in printed
    )
    assert "note: the search used seed 0 as well, so the luck by which it chose" in printed
    assert "plain U-Net, width 4; lr 0.001: the search's trial 0005, Dice 0.850" in printed
    run = Run(search.path.parent / "encoders-confirm")
    table = read_table(run.slices)
    locked = read_table(search.slices).query("part == 'test'")["patient"]
    assert set(table.loc[table["part"] == "test", "patient"]) == set(locked)
    scored: dict[tuple[Any, Any], list[str]] = {}
    for record in run.trials():
        assert (record.state, record.reason) == ("done", "")
        config = build(TrialConfig(), record.params)
        last, kept = pd.read_csv(run.trial(record.trial).last), run.trial(record.trial).path
        assert [path.name for path in kept.glob("*.pt")] == ["last.pt"], "the network of these"
        fold = table[f"fold_{config.seed}"]
        trained_on = table[(fold != config.fold) & (table["part"] != "test")]
        assert not set(last["patient"]) & set(trained_on["patient"])
        validation = table[fold == config.fold]
        slices = last.set_index("patient")["slices"].to_dict()
        assert slices == validation["patient"].value_counts().to_dict()
        key = (config.seed, getattr(config.optimizer, "lr", None))
        scored[key] = scored.get(key, []) + last["patient"].tolist()
    assert sorted(seed for seed, _ in scored) == [0, 0, 5, 5]
    for names in scored.values():
        assert sorted(names) == sorted(set(table["patient"]) - set(locked))
    (live,) = offline_records(run, "0000", "run")
    assert (live["run_group"], live["job_type"]) == ("encoders", "confirm")
    assert read_json(run.sweep)["phase"] == "confirm" and "out of fold" in run.report.read_text()
    before, again = read_lines(run.path / "trials.jsonl"), confirm(search)
    assert "now; 8 are done: about 0 device-hours for the rest, at the speed" in again
    assert "all 8 trials were tried; raise the budget" in again
    assert read_lines(run.path / "trials.jsonl") == before
