"""`brainseg wandb sync` brings W&B what it lacks, once, whatever happened before."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.records.locks import locked
from brainseg.records.run import Run
from brainseg.tracking import sync
from brainseg.tracking.marks import OFFLINE, lacking
from tests.support.mirroring import SENDING, mirror, offline_steps
from tests.support.small_run import end, four_trials
from tests.support.sweeps import ROOT, brainseg
from tests.support.waiting import until
from tests.support.wandb_server import KEY, WandbServer
from tests.tracking.test_mirror import add_rows, id_of

OLD = Path(__file__).parents[1] / "support" / "old_run"


PROGRAM = "from brainseg.cli.main import main; main()"


def environment() -> dict[str, str]:
    """Of another process that is to import this brainseg."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "SENDING", SENDING)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One trial stopped after 2 epochs, one done after 3, one failed after 1, one at epoch 2."""
    return four_trials(tmp_path / "runs" / "encoders")


def steps(server: WandbServer) -> dict[str, list[int]]:
    return {name.rpartition("-")[2]: served.steps for name, served in server.runs.items()}


WHOLE = {"0000": [1, 2], "0001": [1, 2, 3], "0002": [1], "0003": [1, 2]}


def test_what_was_never_sent_is_uploaded_once_with_its_address(
    run: Run, server: WandbServer
) -> None:
    done = brainseg("wandb", "sync", str(run.path))
    assert done.status == 0, done
    address = f"{server.url}/team/brainseg"
    lines = done.stdout.splitlines()
    assert lines[0] == f"uploading 4 trials of {run.path} to {server.url}"
    assert lines[1] == f"[1/4] trial 0000: 2 epochs  {address}/runs/{id_of('0000')}"
    assert lines[-1] == f"W&B has all of {run.path}: {address}"
    assert len(lines) == 6 and done.stderr == ""
    assert steps(server) == WHOLE
    states = [served.summary.get("state") for served in server.runs.values()]
    assert states == ["stopped", "done", "failed", None], "the last one is to be resumed"
    again, requests = brainseg("wandb", "sync", str(run.path)), server.requests
    assert (again.status, again.stdout) == (
        0,
        f"nothing to upload: {server.url} has all of {run.path}\n",
    )
    for mark in run.path.glob("trials/*/wandb.json"):
        mark.unlink()  # as on storage that cannot be written to: W&B itself is asked
    assert brainseg("wandb", "sync", str(run.path)).status == 0
    assert server.requests > requests and steps(server) == WHOLE
    add_rows(run, "0003", 3, 4)
    end(run, "0003", "done")
    assert brainseg("wandb", "sync", str(run.path)).stdout.startswith("uploading 1 trial of ")
    assert steps(server) == WHOLE | {"0003": [1, 2, 3, 4]}


def test_down_until_after_the_end_then_sync(run: Run, server: WandbServer) -> None:
    said = list[str]()
    copy = mirror(run, said.append)
    copy.follow("0003")
    until(lambda: len(server.runs) == 4 and server.runs[id_of("0003")].steps == [1, 2])
    server.down()
    add_rows(run, "0003", 3, 5)
    end(run, "0003", "done")
    copy.follow("0003")
    copy.close(timeout_seconds=1.0)
    assert f"`brainseg wandb sync {run.path}`" in said[-1]
    failed = brainseg("wandb", "sync", str(run.path))
    assert failed.status == 4 and "the same command continues" in failed.stderr, failed
    assert "Traceback" not in failed.stderr
    server.up()
    done = brainseg("wandb", "sync", str(run.path))
    assert done.status == 0, done
    assert steps(server) == WHOLE | {"0003": [1, 2, 3, 4, 5]}


def test_killed_in_the_middle_it_continues(run: Run, server: WandbServer) -> None:
    words = [sys.executable, "-c", PROGRAM, "wandb", "sync", str(run.path)]
    first = subprocess.Popen(words, env=environment())
    until(lambda: len(server.runs) >= 2)
    first.kill()
    first.wait()
    assert lacking(run, server.url)
    assert brainseg("wandb", "sync", str(run.path)).status == 0
    assert steps(server) == WHOLE and lacking(run, server.url) == []


def test_offline_runs_are_uploaded_once_by_brainseg_or_by_wandb(
    run: Run, server: WandbServer
) -> None:
    copy = mirror(run, print, "offline")
    copy.follow("0003")
    until(lambda: not lacking(run, OFFLINE)[1:])
    copy.follow("0001")  # which has ended, and is there
    copy.close()
    assert len(list(run.path.glob("wandb/offline-run-*"))) == 4, "one for each trial"
    assert offline_steps(run, "0001") == [1, 2, 3] and not server.runs
    fresh = Run(run.path.with_name("fresh"))
    shutil.copytree(run.path, fresh.path)
    assert brainseg("wandb", "sync", str(run.path)).status == 0
    assert steps(server) == WHOLE
    words = [sys.executable, "-m", "wandb", "sync"]
    skipped = [*words, "--skip-synced", str(run.path / "wandb")]
    printed = subprocess.run(skipped, capture_output=True, text=True, check=True)
    assert "No runs to sync" in printed.stdout + printed.stderr
    server.runs.clear()
    subprocess.run([*words, str(fresh.path / "wandb")], capture_output=True, check=True)
    assert steps(server) == WHOLE
    assert brainseg("wandb", "sync", str(fresh.path)).status == 0
    assert steps(server) == WHOLE


def test_a_run_of_an_earlier_version(tmp_path: Path, server: WandbServer) -> None:
    run = Run(tmp_path / "old")
    shutil.copytree(OLD, run.path)
    for trial in ("0000", "0001"):  # marks that were written before W&B had the rows
        (run.trial(trial).path / "wandb.json").write_text('{"id": "4c505185-0000", "epoch": 9}')
    rows = {record.trial: len(run.trial(record.trial).rows()) for record in run.trials()}
    assert brainseg("wandb", "sync", str(run.path)).status == 0
    assert {trial: len(epochs) for trial, epochs in steps(server).items()} == rows


def test_a_gap_that_an_earlier_version_left_is_said(run: Run, server: WandbServer) -> None:
    assert brainseg("wandb", "sync", str(run.path)).status == 0
    for mark in run.path.glob("trials/*/wandb.json"):
        mark.unlink()
    served = server.runs[id_of("0001")]
    served.lines = {0: served.lines[0], 1: served.lines[2]}
    done = brainseg("wandb", "sync", str(run.path))
    assert "trial 0001: W&B lacks 1 of these" in done.stdout and done.status == 0, done
    assert done.stdout.count("W&B lacks") == 1
    assert steps(server) == WHOLE | {"0001": [1, 3]}


def test_a_trial_that_wandb_refuses_does_not_hold_up_the_others(
    run: Run, server: WandbServer
) -> None:
    server.deleted = {id_of("0001")}
    said = list[str]()
    copy = mirror(run, said.append)
    until(lambda: len(server.runs) == 2)
    copy.close()
    whole = {trial: WHOLE[trial] for trial in ("0000", "0002")}
    assert steps(server) == whole and "previously created and deleted" in said[0]
    assert len(said) < 5, said
    done = brainseg("wandb", "sync", str(run.path))
    assert done.status == 4 and "[1/2] trial 0001: not uploaded" in done.stdout, done
    assert "created and deleted" in done.stderr and "1 of 2 trials are uploaded" in done.stderr
    assert steps(server) == whole | {"0003": WHOLE["0003"]}


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def test_from_storage_that_cannot_be_written_to(run: Run, server: WandbServer) -> None:
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("to mount a folder read-only one must be root")
    mounted = ["unshare", "--mount", "bash", "-c", READ_ONLY, str(run.path.parent)]
    for _ in range(2):
        words = [*mounted, sys.executable, "-c", PROGRAM, "wandb", "sync", str(run.path)]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0 and "[4/4]" in done.stdout and done.stderr == ""
    assert steps(server) == WHOLE and not list(run.path.glob("trials/*/wandb.json"))


def test_why_not_is_one_sentence(
    run: Run, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("wandb", "sync", str(run.path))
    with locked(run.path / "lock"):
        going = brainseg(*words)
    assert going.status == 2 and "run this again when it has ended" in going.stderr, going
    server.status = 401
    refused = brainseg(*words)
    assert refused.status == 2 and "W&B refuses the key" in refused.stderr, refused
    assert "0 of 4 trials are uploaded. Set WANDB_API_KEY" in refused.stderr
    monkeypatch.delenv("WANDB_API_KEY")
    without = brainseg(*words)
    assert without.status == 2 and "W&B finds no key" in without.stderr, without
    monkeypatch.setenv("WANDB_API_KEY", KEY[:9])
    cut = brainseg(*words)
    assert cut.status == 2 and "must have 40+ characters" in cut.stderr, cut
    for done in (going, refused, without, cut):
        assert len(done.stderr.splitlines()) == 1 and KEY[:9] not in str(done)
    nothing = brainseg("wandb", "sync", str(run.path.parent))
    assert nothing.status == 2 and "holds no sweep.json" in nothing.stderr
