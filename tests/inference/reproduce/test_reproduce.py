"""A trial that is trained again from its record gives the same numbers, or says why not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from brainseg.config.hyperparameters import (
    Constant,
    Cosine,
    Dice,
    DiceBce,
    Gradual,
    Plain,
    Sgd,
    TrialConfig,
    Triangular,
)
from brainseg.data.phantom import write_phantoms
from brainseg.data.table import read_slices
from brainseg.inference.reproduce.facts import Facts, facts
from brainseg.inference.reproduce.record import Record
from brainseg.inference.reproduce.retrain import retrain
from brainseg.inference.reproduce.verdict import compare
from brainseg.records.files import Unreadable, read_json, read_lines
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import TrialState
from brainseg.training.compute.plan import Compute
from brainseg.training.guards.memory import set_parts
from brainseg.training.trial import run_trial
from tests.support.sweeps import Done, brainseg
from tests.support.tasks import task_of
from tests.support.trials import (
    CPU,
    NORMED,
    SMALL,
    TINY,
    nothing,
    run_of,
    together,
    trained,
)
from tests.support.written import append_line, write_json

EXACT = "matches to the bit"
ELSEWHERE = Facts(differing=("processor, Apple M9 then, another here",))
CLIMBS = replace(
    TINY,
    model=NORMED,
    loss=Dice(),
    optimizer=Sgd(lr=100.0),
    clip_norm=0.0,
    epochs=6,
    schedule=Cosine(warmup=0.6),
)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=7, size=48)


@pytest.fixture
def run(phantoms: Path, tmp_path: Path) -> Run:
    return run_of(phantoms, tmp_path / "run")


@pytest.fixture
def listed(phantoms: Path, tmp_path: Path) -> Run:
    return run_of(phantoms, tmp_path / "listed", kind="points")


def reproduced(run: Run, trial: str, *words: str, state: TrialState = TrialState.DONE) -> Done:
    run.note(trial, state)
    return brainseg("reproduce", str(run.path), trial, *words)


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, model=Plain(width=4, depth=2, dropout=0.2), precision="bfloat16"),
        replace(TINY, schedule=Triangular(cycle_epochs=3), lr="auto", model=NORMED, loss=DiceBce()),
        replace(TINY, model=replace(SMALL, freeze=Gradual(until=0.8), layer_decay=0.7)),
    ],
    ids=["bfloat16", "lr=auto", "gradual"],
)
def test_a_trial_that_was_killed_and_resumed_is_reproduced_to_the_bit(
    run: Run, config: TrialConfig
) -> None:
    def cut(row: EpochRow) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "0000", config, cut)
    folder = trained(run, "0000", config, nothing)
    done = reproduced(run, "0000")
    assert done.status == 0, done
    assert EXACT in done.stdout and "differs from the record" not in done.stdout, done
    assert f"epoch 3/3  loss {folder.rows()[-1].train_loss:.4f}" in done.stdout
    assert done.stdout.count(": the same\n") == 3, done


def test_a_trial_of_a_list_that_paused_and_moved_to_other_threads_is_reproduced_in_its_stages(
    listed: Run,
) -> None:
    config = replace(TINY, epochs=4)
    task = task_of(listed, "0000", config)
    task.folder.pause_after(2)
    run_trial(task, nothing, CPU)
    task.folder.pause_after(4)
    set_parts(task.folder, 2)  # as where memory was short
    odd = Compute(channels_last=False, optimizer="fused")
    run_trial(replace(task, threads=2, compute=odd), nothing, CPU)
    stages = Record(listed, "0000", tuple(task.folder.rows())).stages()
    setups = [(stage.until, stage.setup.threads, stage.setup.parts) for stage in stages]
    assert setups == [(2, 1, 1), (4, 2, 2)] and stages[1].setup.compute == odd
    done = reproduced(listed, "0000")
    assert done.status == 0 and "table of the last epoch: the same" in done.stdout, done
    assert EXACT in done.stdout


def test_a_trial_that_was_stopped_early_is_trained_to_where_it_was(
    run: Run, tmp_path: Path
) -> None:
    task = task_of(run, "0000", replace(TINY, epochs=5))
    task.folder.pause_after(2)
    run_trial(task, nothing, CPU)
    kept = tmp_path / "kept"
    done = reproduced(run, "0000", "--keep", str(kept), state=TrialState.STOPPED)
    assert done.status == 0 and EXACT in done.stdout, done
    assert "2 of 5 epochs" in done.stdout
    again = Run(kept).trial("0000")
    assert again.patients.read_bytes() == task.folder.patients.read_bytes()
    resumed = reproduced(run, "0000", "--keep", str(kept))
    assert resumed.status == 0 and EXACT in resumed.stdout and "epoch 1/5" not in resumed.stdout
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    refused = reproduced(run, "0000", "--keep", str(tmp_path / "other"))
    assert refused.status == 2 and "--keep must name a new or empty folder" in refused.stderr


@pytest.mark.cluster
def test_two_workers_are_started_again_as_two(run: Run, tmp_path: Path) -> None:
    together(run, "0000", replace(TINY, model=NORMED), 2, tmp_path)
    done = reproduced(run, "0000")
    assert done.status == 0 and EXACT in done.stdout, done
    assert "2 workers" in done.stdout


def test_a_training_that_broke_and_went_back_does_so_again(listed: Run, phantoms: Path) -> None:
    for seed in range(60):
        folder = trained(listed, f"{seed}", replace(CLIMBS, seed=seed), nothing)
        if any(row.attempt for row in folder.rows()):
            break
    else:
        raise AssertionError("no seed breaks")
    done = reproduced(listed, folder.trial)
    assert done.status == 0 and EXACT in done.stdout, done


def test_a_failure_is_reproduced_too(run: Run) -> None:
    fast = Sgd(lr=1.0, momentum=0.0, weight_decay=20.0)
    config = replace(CLIMBS, optimizer=fast, schedule=Constant())
    folder = trained(run, "0000", config, nothing)
    assert folder.failure.exists()
    done = reproduced(run, "0000", state=TrialState.FAILED)
    assert done.status == 0 and EXACT in done.stdout, done
    assert "it failed again in the same way: " in done.stdout, done
    folder.failure.write_text("another reason\n")
    changed = reproduced(run, "0000")
    assert changed.status == 1 and "recorded was: another reason" in changed.stdout, changed


@pytest.fixture
def whole(run: Run) -> TrialDir:
    return trained(run, "0000", TINY, nothing)


def test_other_numbers_on_the_same_machine_are_no_match(run: Run, whole: TrialDir) -> None:
    text = whole.patients.read_text()
    patient, slices, tumour, tp, *rest = text.splitlines()[1].split(",")
    row = ",".join([patient, slices, tumour, str(int(tp) + 1), *rest])
    whole.patients.write_text(text.replace(text.splitlines()[1], row))
    done = reproduced(run, "0000")
    assert done.status == 1, done
    assert "does not match: on the same kind of machine every bit must be the same" in done.stdout
    assert "3 epochs: every score and loss is the same" in done.stdout


def test_what_differs_from_the_record_is_named_and_a_tolerance_holds(
    run: Run, whole: TrialDir
) -> None:
    starts = read_lines(whole.starts)
    machine = {**starts[0]["machines"][0], "name": "Apple M9", "flags": "other"}
    versions = {**starts[0]["versions"], "torch": "1.0", "brainseg code": "0"}
    whole.starts.unlink()
    append_line(whole.starts, {**starts[0], "machines": [machine], "versions": versions})
    done = reproduced(run, "0000", "--threads", "2")
    assert done.status == 0, done
    assert "processor, Apple M9 then, " in done.stdout and "torch, 1.0 then, " in done.stdout
    assert "; the code of brainseg" in done.stdout, done
    assert "what the processor can do" in done.stdout and "threads, 1 then, 2 here" in done.stdout
    rows = [row.to_json() for row in whole.rows()]
    whole.metrics.unlink()
    for line in rows:
        append_line(whole.metrics, {**line, "train_loss": line["train_loss"] * 1.02})
    far = reproduced(run, "0000")
    assert far.status == 1 and "does not match: beyond the tolerance" in far.stdout, far


def test_an_older_record_is_tried_and_what_it_lacks_is_said(run: Run, whole: TrialDir) -> None:
    (start,) = read_lines(whole.starts)
    whole.starts.unlink()
    append_line(whole.starts, {name: start[name] for name in ("at", "epoch", "workers")})
    done = reproduced(run, "0000")
    assert done.status == 0 and "did not record the processor" in done.stdout, done
    assert "did not record how it computed" in done.stdout
    assert "did not record its own code" in done.stdout


def test_what_cannot_be_tried_is_refused_in_a_sentence(
    run: Run, whole: TrialDir, phantoms: Path, tmp_path: Path
) -> None:
    def refused(*words: str) -> str:
        done = reproduced(run, *words)
        assert done.status == 2 and not done.stdout and "Traceback" not in done.stderr, done
        return done.stderr

    run.note("0000", TrialState.DONE)
    unknown = brainseg("reproduce", str(run.path), "7")
    assert unknown.status == 2 and "got '7'; it has 0000" in unknown.stderr, unknown
    assert "--threads must be at least 1, got 0" in refused("0000", "--threads", "0")
    moved = tmp_path / "moved"
    shutil.copytree(phantoms, moved)
    settings = read_json(run.sweep, kind=dict)
    gone = {**settings, "data": {**settings["data"], "root": str(tmp_path / "gone")}}
    write_json(run.sweep, gone)
    assert f"{tmp_path / 'gone'} is no folder" in refused("0000")
    there = reproduced(run, "0000", "--data", str(moved))
    assert there.status == 0 and EXACT in there.stdout, there
    image = moved / read_slices(run.slices)["image"][0]
    image.write_bytes(image.read_bytes() + b"0")
    assert f"those under {moved} are not" in refused("0000", "--data", str(moved))
    write_json(run.sweep, settings)
    whole.patients.unlink()
    assert "patients.csv cannot be read: it is missing" in refused("0000")
    run.note("0001", TrialState.RUNNING)
    run.trial("0001").create(whole.params())
    running = brainseg("reproduce", str(run.path), "0001")
    assert running.status == 2 and "0001 is running; wait for it" in running.stderr, running


def test_only_the_same_kind_of_failure_matches_on_another_machine(run: Run) -> None:
    record, copy = (task_of(run, name, TINY).folder for name in ("0000", "0001"))
    record.failure.write_text("the loss became nan at step 3, on the batch of p1/2, p2/4\n")
    for failure, matches in (
        ("the loss became inf at step 4, on the batch of p3/1", True),
        ("there is no file weights.pt", False),
        ("", False),
    ):
        copy.failure.write_text(failure)
        verdict = compare(Record.of(run, "0000"), copy, ELSEWHERE)
        assert verdict.matches == matches and "tolerance" not in verdict.lines[-1], verdict
    run_trial(task_of(run, "0002", TINY), nothing, CPU)
    copy.failure.write_text("there is no file weights.pt")
    with pytest.raises(ValueError, match=r"ended before its first: there is no file weights\.pt"):
        compare(Record(run, "0002", tuple(run.trial("0002").rows())), copy, ELSEWHERE)


def test_what_memory_was_short_for_here_alone_is_named_and_held_to_the_tolerance(run: Run) -> None:
    folder, task = trained(run, "0000", TINY, nothing), task_of(run, "0001", TINY)
    set_parts(task.folder, 2)
    run_trial(task, nothing, CPU)
    record = Record(run, "0000", tuple(folder.rows()))
    differing = facts(record, task.folder, CPU, None)
    assert differing.differing == ("memory was short here: batches in 2 parts",)
    verdict = compare(record, task.folder, differing)
    assert verdict.matches, verdict
    assert not facts(record, folder, CPU, None).differing


@pytest.fixture
def unscored(listed: Run) -> Run:
    table = read_slices(listed.slices)
    table["part"] = table["part"].replace("validation", "train")
    table.to_csv(listed.slices, index=False)
    return listed


def test_a_refit_is_compared_by_its_losses_and_its_last_network(unscored: Run) -> None:
    folder = trained(unscored, "0000", TINY, nothing)
    unscored.note("0000", TrialState.DONE)
    record = Record.of(unscored, "0000")
    same = compare(record, folder, Facts())
    assert same.to_the_bit and "its network is the same" in same.lines[1], same
    other = [replace(row, train_loss=(row.train_loss or 0) * 1.001) for row in record.rows]
    near = compare(Record(unscored, "0000", tuple(other)), folder, ELSEWHERE)
    limits = "(first loss within 0.3%, last loss within 20%; there is no Dice to compare)"
    assert near.matches and near.lines[-1] == f"matches within the tolerance {limits}"
    whole = folder.last_network.read_bytes()
    folder.last_network.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match=r"last\.pt cannot be read: it is cut short"):
        Record.of(unscored, "0000")
    folder.last_network.unlink()
    with pytest.raises(Unreadable, match=r"last\.pt"):
        Record.of(unscored, "0000")


def test_a_refit_that_was_stopped_early_matches_by_its_losses_alone(unscored: Run) -> None:
    task = task_of(unscored, "0000", TINY)
    task.folder.pause_after(2)
    run_trial(task, nothing, CPU)
    done = reproduced(unscored, "0000", state=TrialState.STOPPED)
    assert done.status == 0 and EXACT in done.stdout, done
    assert "its losses are all it left" in done.stdout


def test_a_damaged_record_is_refused_by_its_file(run: Run, whole: TrialDir) -> None:
    run.note("0000", TrialState.DONE)
    text = whole.patients.read_text()
    for damaged, fault in (("", "it is empty"), (text.replace("patient,", "who,"), "no column")):
        whole.patients.write_text(damaged)
        with pytest.raises(Unreadable, match=rf"patients\.csv cannot be read: .*{fault}"):
            Record.of(run, "0000")
    whole.patients.write_text(text)
    (start,) = read_lines(whole.starts)
    for line, fault in (({"workers": []}, "lacks epoch"), ({**start, "workers": [1]}, "no JSON")):
        whole.starts.unlink()
        append_line(whole.starts, line)
        with pytest.raises(Unreadable, match=rf"begins\.jsonl cannot be read: .*{fault}"):
            Record.of(run, "0000")


def test_a_kept_folder_is_resumed_on_the_data_that_are_named_now(
    run: Run, whole: TrialDir, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.note("0000", TrialState.DONE)
    record, kept = Record.of(run, "0000"), tmp_path / "kept"
    for name in ("first", "second"):
        shutil.copytree(phantoms, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for data, root in (("first", tmp_path / "first"), ("second", tmp_path / "second")):
        retrain(record, kept, CPU, threads=None, data=data, log=print)
        assert Run(kept).settings()["data"]["root"] == str(root)
    retrain(record, kept, CPU, threads=None, data="", log=print)
    assert Run(kept).settings()["data"]["root"] == str(phantoms)
