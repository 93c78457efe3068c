"""Whole sweeps, as a user starts them: real Ray, a real study, W&B offline and read back."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Thread

import optuna
import pandas as pd
import psutil
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from brainseg.cli.main import INTERRUPTED
from brainseg.config.hyperparameters import Encoder
from brainseg.data.phantom import write_phantoms
from brainseg.doctor.open_ports import Port, ports_of
from brainseg.models.network import build_network
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from tests.support.mirroring import offline_steps
from tests.support.sweeps import ENCODERS, Done, run_script

SMALL = [
    "--epochs=3",
    "--image-size=32",
    "--weights=none",
    "--encoders=resnet18,mobilenet_v2",
    "--set=model.plain.width=4",
    "--set=batch_size=4",
    "--validation=0.3",
    "--test=0",
]
WHOLE = [
    "--trials=4",
    "--wandb=offline",
    "--try=model=plain,optimizer=sgd,optimizer.sgd.lr=1e38",  # the loss overflows
    "--encoders=resnet18",
    "--weights=own.pth",  # the two override those of SMALL
]


# A line of a sweep's own, up to its end: nothing of Ray's, Tune's, torch's or W&B's comes between.
OURS = re.compile(
    r"\[\d{4}\] |left out: |/\S+: train \d+ patients|\d+ trials at once, |brainseg: |"
    r"all trials compute in |the search has ended: |at 32 pixels a side, the tumours of "
)


def not_ours(lines: str) -> list[str]:
    return [line for line in lines.splitlines() if not OURS.match(line)]


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=6, size=48)


def options(patients: Path, storage: Path, *words: str) -> list[str]:
    plain = "--set=model=plain" in words  # which no choice of encoders has an effect on
    given = {word.rpartition("=")[0] for word in words} | ({"--encoders"} if plain else set())
    small = [word for word in SMALL if word.rpartition("=")[0] not in given]
    return [f"--data={patients}", f"--storage={storage}", *small, *words]


def sweep(patients: Path, storage: Path, *words: str) -> Done:
    """The encoder sweep in this process and the session's Ray."""
    return run_script(ENCODERS, *options(patients, storage, *words))


def command(patients: Path, storage: Path, *words: str) -> list[str]:
    """The encoder sweep for a process of its own, which begins a Ray of its own."""
    return [sys.executable, str(ENCODERS), *options(patients, storage, *words)]


def process(
    patients: Path, storage: Path, *words: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    asked, env = command(patients, storage, *words), {**os.environ, **environment}
    return subprocess.run(asked, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session")
def finished(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One sweep that most tests look at: four trials, of which one must fail."""
    storage = tmp_path_factory.mktemp("runs")
    encoder = build_network(Encoder(name="resnet18", weights="none")).body.get_submodule("encoder")
    torch.save(encoder.state_dict(), storage / "own.pth")
    too_long = storage / (90 * "x")  # for the sockets of Ray and of multiprocessing
    too_long.mkdir()
    done = process(patients, storage, *WHOLE, cwd=storage, TMPDIR=str(too_long), RAY_TMPDIR="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not not_ours(done.stderr)
    (storage / "stdout").write_text(done.stdout)
    return Run(storage / "encoders")


@pytest.mark.ray
def test_a_sweep_ends_with_a_ranking_a_table_and_a_page(finished: Run) -> None:
    said = (finished.path.parent / "stdout").read_text()
    assert "report.html" in said and "predicts nothing" in said
    table = pd.read_csv(finished.results)
    ranked = table.dropna(subset=["dice"])
    assert ranked["dice"].is_monotonic_decreasing and len(table) == 4
    assert "<html" in finished.report.read_text()


@pytest.mark.ray
def test_checkpoints_of_ended_trials_are_gone_and_their_best_networks_are_kept(
    finished: Run,
) -> None:
    assert not list(finished.path.glob("trials/*/latest-*"))
    kept = {file.parent.name for file in finished.path.glob("trials/*/best.pt")}
    assert kept == {record.trial for record in finished.trials() if record.dice is not None}


def optuna_trials(run: Run) -> dict[str, FrozenTrial]:
    backend = JournalFileBackend(str(run.journal))
    study = optuna.load_study(study_name=run.path.name, storage=JournalStorage(backend))
    return {f"{trial.number:04d}": trial for trial in study.trials}


@pytest.mark.ray
def test_each_trial_s_state_is_the_same_in_the_records_and_in_optuna(finished: Run) -> None:
    told = {name: trial.state for name, trial in optuna_trials(finished).items()}
    expected = {
        "done": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    records = finished.trials()
    assert Counter(r.state for r in records)["failed"] == 1
    assert told == {record.trial: expected[record.state] for record in records}


@pytest.mark.ray
def test_optuna_keeps_what_a_stopped_trial_last_had_and_what_a_whole_one_had_at_best(
    finished: Run,
) -> None:
    trials = optuna_trials(finished)
    for record in finished.trials():
        rows = finished.trial(record.trial).rows()
        if record.state == "stopped":
            assert trials[record.trial].value == rows[-1].dice
        elif record.state == "done":
            assert trials[record.trial].value == rows[-1].best_dice


@pytest.mark.ray
def test_a_driver_says_why_it_ended(finished: Run) -> None:
    assert [line["event"] for line in finished.drivers()] == ["begins", "ends"]
    assert finished.drivers()[-1]["reason"] == "all 4 trials were tried"
    said = (finished.path.parent / "stdout").read_text()
    assert "the search has ended: all 4 trials were tried" in said


@pytest.mark.ray
def test_another_sweep_starts_from_this_one_s_trials_and_aims_at_costs_as_well(
    patients: Path, finished: Run
) -> None:
    storage = finished.path.parent
    words = ["--name=second", f"--from={finished.path}", "--trials=2", "--wandb=off"]
    words += ["--encoders=resnet18", f"--weights={storage / 'own.pth'}"]  # as that one has them
    done = sweep(patients, storage, *words, "--objectives=dice,parameters")
    assert done.status == 0, done
    run = Run(storage / "second")
    old = [t for t in optuna_trials(run).values() if "from" in t.user_attrs]
    assert {t.user_attrs["from"] for t in old} == {
        f"encoders {r.trial}" for r in finished.trials() if r.state != "failed"
    }
    new = {r.trial: r for r in run.trials()}
    assert len(new) == 2 and min(new) == f"{len(old):04d}"
    for name, record in new.items():
        told = optuna_trials(run)[name]
        if record.state == "done":
            assert told.values == [record.dice, run.trial(name).rows()[-1].parameters]
    assert "Dice against cost" in run.report.read_text()
    words.remove(f"--from={finished.path}")
    forgotten = sweep(patients, storage, *words)
    assert forgotten.status == 2 and "from" in forgotten.stderr


@pytest.mark.ray
def test_a_trial_that_went_nan_says_on_which_slices(finished: Run) -> None:
    failed = next(record for record in finished.trials() if record.state == "failed")
    assert "the loss became nan" in failed.reason and "PHANTOM_" in failed.reason
    last = (finished.path.parent / "stdout").read_text().splitlines()[-1]
    assert last.startswith(f"1 of 4 trials failed: {failed.trial} (the loss became nan")
    assert last.endswith("; --retry-failed tries them again")


@pytest.mark.ray
def test_weights_named_by_a_relative_path_reach_the_trial(finished: Run) -> None:
    trial = next(r for r in finished.trials() if "own.pth" in r.configuration)
    assert trial.state in ("done", "stopped"), trial.reason


@pytest.mark.ray
def test_wandb_holds_every_epoch_of_every_trial_once(finished: Run) -> None:
    for record in finished.trials():
        rows = finished.trial(record.trial).rows()
        assert offline_steps(finished, record.trial) == [row.epoch for row in rows]


@pytest.mark.ray
def test_the_same_command_again_reruns_nothing(
    patients: Path, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_lines(finished.path / "trials.jsonl")
    monkeypatch.chdir(finished.path.parent)
    again = sweep(patients, finished.path.parent, *WHOLE)
    assert again.status == 0, again
    assert "all 4 trials were tried; raise the budget to continue" in again.stdout
    assert read_lines(finished.path / "trials.jsonl") == before


@pytest.mark.ray
def test_another_question_under_the_same_name_is_refused(patients: Path, finished: Run) -> None:
    other = sweep(patients, finished.path.parent, "--trials=4", "--image-size=64")
    assert other.status == 2
    assert "fixed.image_size" in other.stderr and "--name" in other.stderr


@pytest.mark.ray
def test_a_driver_killed_twice_loses_no_epoch_and_repeats_no_trial(
    patients: Path, tmp_path: Path
) -> None:
    words = ["--trials=4", "--wandb=off", "--epochs=4"]
    run = Run(tmp_path / "encoders")
    for epochs in (2, 6):
        with (tmp_path / "printed").open("w") as printed:
            asked = [sys.executable, "-u", *command(patients, tmp_path, *words)[1:]]
            driver = subprocess.Popen(
                asked, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_for_rows(run, epochs)
        assert open_ports(driver.pid) == []
        os.kill(_trial_process(driver.pid), signal.SIGKILL)
        wait_for_rows(run, epochs + 1)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        assert not not_ours((tmp_path / "printed").read_text())
    epochs_before = {r.trial: len(run.trial(r.trial).rows()) for r in run.trials()}
    done = sweep(patients, tmp_path, *words)
    assert done.status == 0, done
    assert len(run.trials()) == 4
    for record in run.trials():
        assert record.state in ("done", "stopped")
        epochs = [row.epoch for row in run.trial(record.trial).rows()]
        assert epochs == list(range(1, len(epochs) + 1))
        assert len(epochs) >= epochs_before.get(record.trial, 0)
        assert sorted(optuna_trials(run)[record.trial].intermediate_values) == epochs
    states: dict[str, list[str]] = {}
    for line in read_lines(run.path / "trials.jsonl"):
        states.setdefault(line["trial"], []).append(line["state"])
    assert all(seen[-1] != "running" and set(seen[:-1]) == {"running"} for seen in states.values())


@pytest.mark.ray
def test_a_trial_whose_process_dies_again_and_again_goes_on_as_long_as_it_gets_on(
    patients: Path, tmp_path: Path
) -> None:
    trial, begun = Run(tmp_path / "encoders").trial("0000"), list[int]()

    def kill() -> None:
        """Kill the trial's process once more often than Tune would forgive, then end the sweep."""
        try:
            begun.append(_gets_on(trial, times=1))
            for kills in (1, 2, 3):
                os.kill(_trial_process(), signal.SIGKILL)
                begun.append(_gets_on(trial, times=kills + 1))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    words = ["--trials=1", "--wandb=off", "--epochs=100000", "--set=model=plain"]
    killer = Thread(target=kill, daemon=True)
    killer.start()
    done = sweep(patients, tmp_path, *words)
    killer.join()
    assert done.status == INTERRUPTED, done
    assert len(begun) == 4 and begun[0] == 0
    assert begun == sorted(set(begun)), "each time further than before"
    assert done.stdout.count(": its process was killed, or crashed (pid ") == 3, done


def _gets_on(trial: TrialDir, times: int) -> int:
    """The epoch after which the trial began for the so many-th time, once it finished two more."""
    while True:
        begins = [line for line in read_lines(trial.starts) if "workers" in line]
        if len(begins) == times and len(trial.rows()) > begins[-1]["epoch"] + 1:
            return int(begins[-1]["epoch"])  # Tune has heard of the first of them
        time.sleep(0.1)


def _trial_process(driver: int | None = None) -> int:
    """A process that trains, among those of a driver's Ray, or of the session's."""
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[0].startswith("ray::ImplicitFunc"):
                return process.pid
    raise AssertionError("no process trains")


def open_ports(driver: int) -> list[Port]:
    """The ports of a driver's Ray that other machines reach."""
    ports = []
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            listening = [c.laddr for c in process.net_connections("tcp") if c.status == "LISTEN"]
            ports += ports_of(process.cmdline() or [""], listening, token=True)
    return ports


def wait_for_rows(run: Run, count: int) -> None:
    """Wait until the trials have finished ``count`` epochs together."""
    for _ in range(600):
        rows = [row for file in run.path.glob("trials/*/metrics.jsonl") for row in read_lines(file)]
        if len(rows) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(f"no {count} epochs in two minutes")


@pytest.mark.ray
def test_two_workers_under_ray_train_end_the_sweep_as_one_does(
    patients: Path, tmp_path: Path
) -> None:
    tables = []
    for workers in (1, 2):
        words = [f"--name=w{workers}", f"--workers={workers}", "--trials=1", "--wandb=off"]
        still = [
            "--set=model=plain",
            "--set=model.plain.dropout=0.0",
            "--set=model.plain.norm=none",
        ]
        done = sweep(patients, tmp_path, *words, *still)
        assert done.status == 0, done
        tables.append(pd.read_csv(Run(tmp_path / f"w{workers}").trial("0000").patients))
    one, two = tables
    assert one["patient"].tolist() == two["patient"].tolist()
    assert one["slices"].tolist() == two["slices"].tolist()
    assert one["dice"].to_numpy() == pytest.approx(two["dice"].to_numpy(), abs=5e-3)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--trials=0"], "trials must be at least 1, got 0"),
        (["--encoders=resnet51"], "there is no encoder 'resnet51'; did you mean 'resnet"),
        (["--set=optimizer.adamw.lrr=1"], "there is no hyperparameter 'optimizer.adamw.lrr'"),
        (["--image-size=50"], "image_size must be a multiple of 32 for this network, got 50"),
        pytest.param(
            ["--workers=64", "--set=batch_size=128"],
            "each needs 64 worker(s) of 1 CPU(s)",
            marks=pytest.mark.ray,  # which counts the CPUs
        ),
        (["--workers=3"], "batch_size must be a multiple of the 3 workers"),
        pytest.param(
            ["--gpus-per-worker=1"],
            "needs 1 worker(s) of 1 CPU(s) and 1 GPU(s)",
            marks=pytest.mark.ray,
        ),
        (["--concurrent=0"], "concurrent must be at least 1, got 0"),
        (["--weights=no/such.pth"], "no/such.pth"),
        (["--data=no/such/folder"], "no/such/folder"),
        (["--layout=dicom"], "a layout must be one of auto, lgg, "),
        (["--layout=pairs"], "root must hold slices as images/ and masks/ with equal names"),
        (["--set=channels=1"], "_1.tif has 3; declare it with --set channels=3"),
        (["--set=channels=5"], "channels"),
        (["--name=../x"], "letters, digits"),
        (["--validation=0"], "validation must be above 0"),
        (["--try=model.encoder.name=vgg19"], "outside the range searched"),
        (["--hours=0"], "hours must be above 0, got 0.0"),
        (["--device-hours=-1"], "device_hours must be above 0, got -1.0"),
        (["--trials=5", "--patience=5"], "patience must be below the 5 trials"),
        (
            ["--objectives=dice,beauty"],
            "parameters, milliseconds_per_image, got 'beauty'",
        ),
        (["--objectives=parameters"], "objectives must start with dice"),
        (["--from=no/such"], "--from must name a sweep's folder, no/such holds no sweep.json"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_no_trial(
    patients: Path,
    tmp_path: Path,
    words: list[str],
    sentence: str,
) -> None:
    done = sweep(patients, tmp_path, *words)
    said = done.stderr.strip().splitlines()
    assert done.status == 2
    assert said[-1].startswith("brainseg: ") and sentence in said[-1]
    assert not list(tmp_path.glob("*/trials.jsonl"))


def test_a_slip_ends_the_script_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    done = process(tmp_path / "nowhere", tmp_path, "--trials=1")
    assert done.returncode == 2
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


def test_offline_nothing_is_downloaded_and_it_says_what_to_fetch(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    words = ["--trials=1", "--offline", "--encoders=resnet18", "--weights=imagenet"]
    done = process(patients, tmp_path, *words)
    assert done.returncode == 2
    assert "brainseg weights fetch resnet18" in done.stderr and "Traceback" not in done.stderr
