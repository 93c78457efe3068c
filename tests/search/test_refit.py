"""A refit trains on everybody but the locked patients, to its last epoch, and claims no score."""

import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.cli.main import INTERRUPTED, main
from brainseg.cli.model.refit import sweep_of
from brainseg.cli.runs import report
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Split, Sweep
from brainseg.data.dataset import read_data
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.folds import rows_of
from brainseg.data.table import read_slices, read_table
from brainseg.inference.sources import open_model
from brainseg.inference.trained import refit_of
from brainseg.inference.winner import rank
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.search.confirmation import confirmation
from brainseg.search.refit import folder_of_winner
from tests.launch.test_failed_trials import once
from tests.launch.test_run_folder import begun, silent
from tests.support.killed import killed_after
from tests.support.mirroring import offline_records
from tests.support.sweeps import Done, brainseg
from tests.support.tables import refused
from tests.support.trials import network_of, nothing, together, trained, untimed
from tests.support.written import append_line, write_json

HELD: Params = {
    "model": "plain",
    "model.plain.width": 4,
    "model.plain.depth": 2,
    "model.plain.dropout": 0.0,
    "image_size": 32,
    "batch_size": 4,
    "epochs": 3,
    "precision": "float32",
}
SEARCH = Sweep(
    name="rates",
    question="Which rate?",
    space=Space(TrialConfig(), search=("optimizer.adamw.lr",), fixed=HELD),
    split=Split(test=0.25, seed=3),
)
BEST, SECOND = {"optimizer.adamw.lr": 2e-3}, {"optimizer.adamw.lr": 4e-3}
WINNER = "plain U-Net, width 4; lr 0.004"


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=8, slices=5, size=32)


@pytest.fixture
def search(patients: Path, tmp_path: Path) -> Run:
    return searched(patients, tmp_path / "runs", SEARCH)


def searched(patients: Path, storage: Path, sweep: Sweep) -> Run:
    """Trials of two configurations, and 2 of 8 patients locked."""
    run = begun(read_data(str(patients), "auto", silent), Run(storage / sweep.name), sweep)
    for point, dice in ((BEST, 0.8), (SECOND, 0.7)):
        ended(run, sweep.space.config(point), dice)
    return run


def ended(run: Run, config: TrialConfig, dice: float, held: Any = ()) -> None:
    """A trial that has ended, whose patients ``held`` score about ``dice`` at its last epoch."""
    trial = f"{len(run.trials()):04d}"
    run.note(trial, "running", configuration=configuration_name(config), params=flatten(config))
    row = {"epoch": 3, "dice": dice, "best_dice": dice, "best_epoch": 3, "seconds": 60.0}
    append_line(run.trial(trial).metrics, {**row, "devices": 1})
    if len(held):
        table = pd.DataFrame({"patient": held, "slices": 5, "tumour_slices": 2, "tp": 1, "fp": 1})
        rng = np.random.default_rng([len(run.trials())])
        scores = np.clip(dice + 0.01 * rng.standard_normal(len(held)), 0, 1)
        table.assign(fn=1, dice=scores, iou=0.5).to_csv(run.trial(trial).last, index=False)
    run.note(trial, "done", dice=dice, epoch=3, best_epoch=3, device_seconds=180.0)


@pytest.fixture
def confirmed(search: Run) -> Run:
    return confirm(search)


def confirm(search: Run) -> Run:
    """What was second in the search is first in the confirmation."""
    sweep = confirmation(search, top=2, baselines="none")
    data = read_data(read_json(search.sweep)["data"]["root"], "auto", silent)
    run = begun(data, Run(search.path.parent / sweep.name), sweep)
    table = read_table(run.slices)
    for _, pinned in sweep.points():
        config = sweep.space.config(pinned)
        held = table.loc[table[f"fold_{config.seed}"] == config.fold, "patient"].unique()
        ended(run, config, 0.9 if pinned["optimizer.adamw.lr"] == 4e-3 else 0.6, held)
    return run


def begin(run: Run, arm: str = "") -> Run:
    """The folder of the refit, in which nothing has been trained yet."""
    sweep = sweep_of(run, arm)
    data = read_data(read_json(run.sweep)["data"]["root"], "auto", silent)
    return begun(data, Run(run.path.parent / sweep.name), sweep)


def config_of(folder: Run) -> TrialConfig:
    known = read_json(folder.sweep)
    [seed] = known["strategy"]["seeds"]
    return build(TrialConfig(), {**known["first"][0], "seed": seed, "fold": 0})


def train(folder: Run) -> None:
    """The refit's one trial, as its driver notes it."""
    config = config_of(folder)
    folder.note("0000", "running", configuration=configuration_name(config), params=flatten(config))
    ending = trained(folder, "0000", config, nothing).ending()
    folder.note("0000", ending.state, **ending.changes())


def test_everybody_trains_but_the_locked_and_nobody_validates(confirmed: Run) -> None:
    folder = begin(confirmed)
    table, locked = read_slices(folder.slices), read_slices(confirmed.slices)["part"] == "test"
    train_rows, validation_rows = rows_of(table, 0, 3)
    assert not len(validation_rows)
    assert set(train_rows) == set(np.flatnonzero(~locked)) and 0 < locked.sum() < len(table)
    assert not [column for column in table if "fold" in column]
    counts = read_json(folder.sweep)["split"]["counts"]
    assert counts == {
        "train": {"patients": 6, "slices": int((~locked).sum())},
        "test": {"patients": 2, "slices": int(locked.sum())},
    }


def test_it_is_recorded_what_is_refitted_and_what_was_measured_of_it(confirmed: Run) -> None:
    known = read_json(begin(confirmed).sweep)
    refits, origin = known["refits"], read_json(confirmed.sweep)
    assert known["phase"] == "refit" and known["name"] == "rates-refit"
    assert known["objectives"] == ["train_loss"] and not known["baselines"]["predictors"]
    assert known["strategy"]["seeds"] == [3], "the search used 0, the confirmation 1 and 2"
    assert known["first"][0]["optimizer.adamw.lr"] == 4e-3 and len(known["first"]) == 1
    assert refits["run"] == str(confirmed.path) and refits["uid"] == origin["uid"]
    assert (refits["group"], refits["configuration"]) == ("rates", WINNER)
    assert (refits["measured"], refits["patients"]) == ("out of fold", 6)
    assert refits["dice"] == pytest.approx(0.9, abs=0.01)
    assert refits["low"] < refits["dice"] < refits["high"]


def test_of_a_search_the_one_it_expects_most_of_is_refitted_and_the_report_says_how_that_was_known(
    search: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begin(search)
    refits = read_json(folder.sweep)["refits"]
    assert (refits["dice"], refits["low"], refits["measured"]) == (0.8, None, "in the search")
    train(folder)
    capsys.readouterr()
    report(folder)
    assert (
        f"{search.path} expects Dice 0.800 of it, on the patients that it was chosen on; `brainseg "
        f"confirm {search.path}` measures it on all." in unwrapped(capsys.readouterr().out)
    )


def test_its_rows_and_records_hold_a_loss_and_no_score(confirmed: Run) -> None:
    folder = begin(confirmed)
    train(folder)
    trial, record = folder.trial("0000"), folder.record("0000")
    assert (record.state, record.dice, record.epoch, record.best_epoch) == ("done", None, 3, 0)
    lines = [json.loads(line) for line in trial.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    scores = {"dice", "best_dice", "iou", "val_loss", "micro_dice", "milliseconds_per_image"}
    assert all("train_loss" in line and not scores & line.keys() for line in lines)
    assert trial.last_network.exists() and not trial.best_network.exists()
    assert not any(path.exists() for path in (trial.last, trial.patients, trial.panels))
    model = open_model(folder.path)
    assert model.description.kind == "refit" and len(model.networks) == 1


def test_killed_and_started_again_it_ends_as_if_it_never_was(confirmed: Run) -> None:
    folder = begin(confirmed)
    config = config_of(folder)
    killed_after(folder, "0001", config, 2, checkpoint_every=0.0)
    again, whole = (trained(folder, trial, config, nothing) for trial in ("0001", "0000"))
    assert list(map(untimed, again.rows())) == list(map(untimed, whole.rows()))
    assert again.notes() == [], "no table and no picture is missed"
    same(network_of(again.last_network), network_of(whole.last_network))


@pytest.mark.parametrize("workers", [1, 2])
def test_it_learns_what_it_would_with_somebody_to_validate_on(
    confirmed: Run, tmp_path: Path, workers: int
) -> None:
    """Batch-norm statistics too: of several workers each has seen but its own share."""
    folder, beside = begin(confirmed), Run(tmp_path / "runs/beside")
    beside.create()
    table = read_table(folder.slices)
    table["part"] = table["part"].replace("test", "validation")
    table.to_csv(beside.slices, index=False)
    write_json(beside.sweep, read_json(folder.sweep))
    config = replace(config_of(folder), epochs=2)
    networks = []
    for run in (folder, beside):
        trial = (
            together(run, "0000", config, workers, run.path)
            if workers > 1
            else trained(run, "0000", config, nothing)
        )
        assert trial.last.exists() == (run == beside)
        networks.append(network_of(trial.last_network))
    assert any("running_mean" in name for name in networks[0])
    same(*networks)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def unwrapped(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_its_report_says_what_to_expect_and_ranks_nothing(
    confirmed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begin(confirmed)
    train(folder)
    capsys.readouterr()
    report(folder)
    shown, page = unwrapped(capsys.readouterr().out), folder.report.read_text()
    for text in (shown, unwrapped(page)):
        assert (
            f"{WINNER} was trained once more on all 6 patients that are not locked, to its last "
            f"epoch, 3. What to expect of it is what {confirmed.path} measured out of fold: mean "
            f"Dice {read_json(folder.sweep)['refits']['dice']:.3f} (95 % interval "
        ) in text
        assert "over 6 patients, of networks that were trained on fewer patients." in text
        assert "so nobody is left to score this training on: it has a loss, and no Dice." in text
        assert "scored highest" not in text and "baselines that look at no image" not in text
    assert "validation" not in shown.lower(), shown
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:2] == ["Locked patients", "Training"]
    assert not {"Ranking", "Validation Dice", "Patients"} & set(titles)
    [row] = pd.read_csv(folder.results).to_dict("records")
    assert np.isnan(row["dice"]) and np.isnan(row["rank"]) and row["state"] == "done"
    costs = "2.0 to search, 20.0 to confirm, 0.0 to refit"
    assert costs in shown, shown


def test_half_way_the_report_says_how_far_it_is(
    confirmed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begin(confirmed)
    report(folder)
    assert "so far none of its epochs" in unwrapped(capsys.readouterr().out)
    folder.note("0000", "running", configuration="plain U-Net", params=flatten(config_of(folder)))
    row = {"epoch": 1, "train_loss": 0.5, "seconds": 60.0, "devices": 1, "lr": 1e-3}
    append_line(folder.trial("0000").metrics, row)
    report(folder)
    assert "so far 1 of its 3 epochs" in unwrapped(capsys.readouterr().out)


def test_another_configuration_is_refitted_in_a_folder_of_its_own(confirmed: Run) -> None:
    second = begin(confirmed, "plain U-Net, width 4; lr 0.002")
    assert second.path.name == "rates-refit-plain-u-net-width-4-lr-0-002"
    assert read_json(second.sweep)["first"][0]["optimizer.adamw.lr"] == 2e-3
    first = begin(confirmed, WINNER)
    assert first.path.name == "rates-refit"
    trial = read_json(first.sweep)["refits"]["trial"]
    assert sweep_of(confirmed, trial) == sweep_of(confirmed, "") == sweep_of(confirmed, WINNER)


def test_what_was_started_stays_what_it_was_whoever_wins_by_now(
    confirmed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begin(confirmed)
    before = sweep_of(confirmed, "")
    for record in confirmed.trials():
        path, is_best = (
            confirmed.trial(record.trial).last,
            record.params["optimizer.adamw.lr"] == 4e-3,
        )
        read_table(path).assign(dice=0.5 if is_best else 0.6).to_csv(path, index=False)
    capsys.readouterr()
    assert sweep_of(confirmed, "") == before
    assert capsys.readouterr().out == (
        f"{folder.path} was started as the refit of {WINNER}\n"
        f"note: by now plain U-Net, width 4; lr 0.002 is the first of {confirmed.path}; --arm 0000 "
        "refits that one, in a folder of its own\n"
    )
    assert begin(confirmed, "0000").path.name.endswith("-refit-plain-u-net-width-4-lr-0-002")
    begin(confirmed)


def test_that_of_a_search_lies_beside_that_of_its_confirmation(search: Run, confirmed: Run) -> None:
    of_search, of_confirmation = begin(search), begin(confirmed)
    assert of_search.path.name == "rates-search-refit"
    assert of_confirmation.path.name == "rates-refit"
    assert begin(search, "0001").path.name.startswith("rates-search-refit-plain")
    for run, folder, trial in ((search, of_search, "0000"), (confirmed, of_confirmation, "")):
        assert folder_of_winner(run) == folder and begin(run, trial) == folder
        assert refit_of(run, rank(RunSnapshot.load(run)).winner) is None, "not trained yet"
        train(folder)
        refit = refit_of(run, rank(RunSnapshot.load(run)).winner)
        assert refit and refit.path == folder.path


def test_what_was_started_may_have_been_written_by_another_version(confirmed: Run) -> None:
    folder = begin(confirmed)
    known = read_json(folder.sweep)
    refits = {name: value for name, value in known["refits"].items() if name != "low"}
    write_json(folder.sweep, known | {"refits": refits | {"later": 1}})
    sweep = sweep_of(confirmed, "")
    assert sweep.refits and sweep.refits.low is None
    assert sweep.refits.trial == refits["trial"]


def test_data_that_are_not_the_run_s_are_refused(confirmed: Run) -> None:
    known = read_json(confirmed.sweep)
    write_json(confirmed.sweep, known | {"data": known["data"] | {"fingerprint": "0" * 16}})
    (confirmed.files).unlink()
    message = refused(lambda: begin(confirmed))
    assert "a refit must use the files of the run that it refits" in message


def without_scores(run: Run) -> list[str]:
    lines = run.changes.read_text().splitlines(keepends=True)
    run.changes.write_text("".join(line for line in lines if '"state": "running"' in line))
    return ["refit", str(run.path)]


def by_slices(run: Run) -> list[str]:
    known = read_json(run.sweep)
    write_json(run.sweep, known | {"split": known["split"] | {"shared_patients": 2}})
    return ["refit", str(run.path)]


def moved(run: Run) -> list[str]:
    known = read_json(run.sweep)
    write_json(run.sweep, known | {"data": known["data"] | {"root": "/gone/away"}})
    return ["refit", str(run.path)]


def taken(run: Run) -> list[str]:
    other = begin(run)
    known = read_json(other.sweep)
    write_json(other.sweep, known | {"refits": known["refits"] | {"uid": "other"}})
    return ["refit", str(run.path)]


def without_slices(run: Run) -> list[str]:
    run.slices.unlink()
    return ["refit", str(run.path)]


def training(run: Run) -> list[str]:
    run.note("0001", "running")
    return ["refit", str(run.path)]


def interrupted(run: Run) -> list[str]:
    run.note_driver("begins")
    run.note_driver("ends", reason="interrupted", whole=False)
    return ["refit", str(run.path)]


def lacking(run: Run) -> list[str]:
    folder = begin(run)
    known = read_json(folder.sweep)
    del known["refits"]["trial"]
    write_json(folder.sweep, known)
    return ["refit", str(run.path)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (lambda run: ["refit", "no/such"], "no/such holds no sweep.json"),
        (without_scores, "has no finished trial with a score yet"),
        (without_slices, "slices.csv cannot be read"),
        (training, "before its winner is refitted, which may still change, 1 of the"),
        (interrupted, "was interrupted before its end; let it finish, or run its command again"),
        (lacking, "it lacks refits.trial"),
        (by_slices, "search again with --split patients, then confirm"),
        (moved, "/gone/away is no folder; name their new place with --data"),
        (lambda run: ["refit", str(run.path), "--data=no"], "no is no folder"),
        (
            lambda run: ["refit", str(run.path), "--arm=plain U-Net, width 4; lr 0.04"],
            "plain U-Net, width 4; lr 0.004 | plain U-Net, width 4; lr 0.002",
        ),
        (taken, "rates-refit holds the refit of plain U-Net, width 4; lr 0.004 of "),
        (lambda run: ["refit", str(begin(run).path)], "is itself a refit, of "),
        (lambda run: ["compare", str(begin(run).path)], "that nobody is left to score; compare"),
        (lambda run: ["confirm", str(begin(run).path)], "is the refit of a configuration of "),
    ],
    ids=lambda value: "" if callable(value) else value[:30],
)
def test_bad_input_is_one_sentence_and_no_trial(
    confirmed: Run,
    capsys: pytest.CaptureFixture[str],
    words: Callable[[Run], list[str]],
    sentence: str,
) -> None:
    asked = words(confirmed)
    capsys.readouterr()
    before = sorted(confirmed.path.parent.glob("*/trials.jsonl"))
    with pytest.raises(SystemExit) as error:
        main(asked)
    lines = capsys.readouterr().err.strip().splitlines()
    assert error.value.code == 2 and len(lines) == 1, lines
    assert lines[0].startswith("brainseg: ") and sentence in lines[0]
    assert sorted(confirmed.path.parent.glob("*/trials.jsonl")) == before


def test_the_search_stays_what_it_was_of_whom_it_never_saw(confirmed: Run) -> None:
    assert not RunSnapshot.load(begin(confirmed)).validated_search


def test_a_list_without_folds_is_refitted_as_well(patients: Path, tmp_path: Path) -> None:
    listed = replace(
        SEARCH,
        space=Space(TrialConfig(), search=(), fixed=HELD),
        first=(BEST, SECOND),
        strategy=Points(seeds=(0, 1)),
    )
    run = begun(read_data(str(patients), "auto", silent), Run(tmp_path / "runs/rates"), listed)
    table = read_table(run.slices)
    held = table.loc[table["part"] == "validation", "patient"].unique()
    for _, pinned in listed.points():
        ended(run, listed.space.config(pinned), 0.7, held)
    known = read_json(begin(run).sweep)
    assert (known["refits"]["measured"], known["refits"]["low"]) == ("in validation", None)
    assert known["strategy"]["seeds"] == [2]


def refit(confirmed: Run, *words: str) -> Done:
    return brainseg("refit", str(confirmed.path), "--wandb=offline", *words)


@pytest.mark.ray
def test_interrupted_and_started_again_it_trains_to_its_last_epoch_and_says_what_to_do_next(
    patients: Path, tmp_path: Path
) -> None:
    long = Space(TrialConfig(), search=SEARCH.space.search, fixed=HELD | {"epochs": 40})
    confirmed = confirm(searched(patients, tmp_path, replace(SEARCH, space=long)))
    folder = Run(tmp_path / "rates-refit")
    trial = folder.trial("0000")
    with once(lambda: len(trial.rows()) > 1, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        done = refit(confirmed, "--checkpoint-every=0")
    assert done.status == INTERRUPTED and "the model is ready" not in done.stdout, done
    assert (
        f"refits {WINNER}, the first of {confirmed.path} by mean Dice over patients, as `brainseg "
        "compare` has it\none training of 40 epochs, with seed 3: about 0.025 device-hours, at the "
        f"speed of {confirmed.path}'s\n"
    ) in done.stdout
    assert re.search(r"\[0000\] epoch 2/40  loss 0\.\d{3}  \d+\.\d s\n", done.stdout), done
    assert 0 < len(trial.rows()) < 40 and "so far" in unwrapped(done.stdout)
    done = refit(confirmed)
    assert done.status == 0, done
    assert f"{folder.path} was started as the refit of {WINNER}" in done.stdout
    assert "[0000] resumes after epoch " in done.stdout
    assert "[0000] done: trained to its last epoch, 40; 1 of 1 trials ended" in done.stdout
    assert done.stdout.endswith(
        "the model is ready:\n"
        f"  brainseg evaluate {confirmed.path}    the 2 locked patients, once: it and what was "
        "confirmed\n"
        f"  brainseg predict {folder.path} IN OUT    masks of new images\n"
        f"  brainseg export {folder.path} OUT    for other programs\n"
    ), done.stdout
    assert [row.epoch for row in trial.rows()] == list(range(1, 41))
    table, locked = read_slices(folder.slices), read_slices(confirmed.slices)["part"] == "test"
    assert set(rows_of(table)[0]) == set(np.flatnonzero(~locked)) and not len(rows_of(table)[1])
    lives = offline_records(folder, "0000", "run")
    assert {(live["run_group"], live["job_type"]) for live in lives} == {("rates", "refit")}
    history = json.dumps(offline_records(folder, "0000", "history"))
    assert "train/loss" in history and "val/" not in history
    again = refit(confirmed)
    assert again.status == 0 and "all 1 trials were tried" in again.stdout, again
