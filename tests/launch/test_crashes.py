"""The same command goes on after a crash that left locks, cut files and an empty one."""

import os
from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.records.run import Run
from tests.search.journal.test_storage import die_holding
from tests.support.sweeps import brainseg

COMMAND = [
    *("train", "--data=patients", "--name=a", "--epochs=2", "--image-size=32", "--wandb=off"),
    *("--set=model=plain", "--set=model.plain.width=4", "--set=batch_size=4"),
]


@pytest.mark.ray
def test_a_run_that_a_crash_left_locked_cut_and_moved_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantoms(Path("patients"), patients=6, slices=4, size=32)
    assert brainseg(*COMMAND, "--storage=runs").status == 0
    run = Run(Path("runs/a"))
    die_holding(run.journal)
    Path("runs").rename("elsewhere")
    run = Run(Path("elsewhere/a"))
    folder = run.trial("0000")
    params, rows = folder.params(), folder.metrics.read_bytes()
    (run.path / "lock").write_text("process 1 on another-host\n")
    run.journal.write_bytes(run.journal.read_bytes()[:-150])  # into the record of its end
    run.changes.write_bytes(run.changes.read_bytes()[:-20] + b"\0" * 100)
    folder.metrics.write_bytes(rows + b'{"epoch": 3, "di')
    folder.config.write_bytes(b"")
    done = brainseg(*COMMAND, "--storage=elsewhere", "--trials=2")
    assert done.status == 0, done
    lines = done.stdout.splitlines()
    assert lines[:1] == ["removed elsewhere/a/study.journal.lock, the lock of a process that died"]
    assert lines[1].startswith("elsewhere/a: dropped what a crash left of unfinished lines: ")
    assert all(name in lines[1] for name in ("trials.jsonl", "metrics.jsonl", "study.journal"))
    assert lines[2] == (
        "elsewhere/a/trials/0000/config.json could not be read (it is empty); written again from "
        "trials.jsonl"
    )
    assert [(r.trial, r.state) for r in run.trials()] == [("0000", "done"), ("0001", "done")]
    assert folder.metrics.read_bytes() == rows and folder.params() == params
    assert [row.epoch for row in run.trial("0001").rows()] == [1, 2]
    assert not os.path.lexists("elsewhere/a/study.journal.lock") and not Path("runs").exists()
