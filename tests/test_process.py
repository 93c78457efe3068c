"""Sweeps leave the process as they found it: environment, signals, settings of libraries, Ray."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from threading import enumerate as threads
from typing import Any

import cv2
import optuna
import psutil
import pytest
import ray
import torch
from huggingface_hub import constants
from ray.tune.execution import class_cache
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from brainseg.cli.main import run
from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Split, Sweep
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import single_threaded
from brainseg.launch.job import Ended, Job
from brainseg.launch.run import run_sweep
from brainseg.process import environment, restored, terminable
from brainseg.records.run import Run
from tests.support.waiting import is_gone, until

SWEEP = Sweep(
    name="again",
    question="What outlives a sweep?",
    space=Space(
        TrialConfig(model=Plain(width=4, depth=1), epochs=1, image_size=32, batch_size=8),
        search=("optimizer.adamw.lr",),
    ),
    strategy=Bayes(trials=1, sampler="random"),
    split=Split(validation=0.3, test=0.0),
)


def state() -> dict[str, Any]:
    """What of this process others may depend on."""
    return {
        "environment": dict(os.environ),
        "handlers": {n: signal.getsignal(n) for n in set(signal.Signals) - {signal.SIGKILL}},
        "signal": signal.signal,
        "passed on": class_cache.ENV_VARS_TO_PROPAGATE,
        "lookup": class_cache._ActorClassCache.get,
        "offline": constants.HF_HUB_OFFLINE,
        "optuna": optuna.logging.get_verbosity(),
        "loggers": {
            name: (logger.level, logger.propagate, list(logger.handlers))
            for name in ("", "ray", "ray.tune", "ray.train", "optuna", "wandb", "brainseg")
            for logger in [logging.getLogger(name)]
        },
        "threads": (cv2.getNumThreads(), torch.get_num_threads()),
        "folder": os.getcwd(),
    }


def in_a_thread(work: Callable[[], Any]) -> BaseException | None:
    """What ``work`` raised in another thread."""
    raised: list[BaseException] = []

    def watched() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=watched)
    thread.start()
    thread.join()
    return raised[0] if raised else None


BLOCKS: list[Callable[[], AbstractContextManager[None]]] = [
    lambda: environment(HOME="/nowhere", NEW="1"),
    terminable,
    single_threaded,
]


@pytest.mark.parametrize("block", BLOCKS, ids=["environment", "terminable", "single_threaded"])
def test_a_change_ends_with_its_block_also_by_an_error(
    block: Callable[[], AbstractContextManager[None]],
) -> None:
    cv2.setNumThreads(2)  # a test before this one may have left 1
    before = state()
    with pytest.raises(KeyError), block():
        assert state() != before
        raise KeyError
    assert state() == before


def test_what_others_changed_is_put_back() -> None:
    before = state()
    with pytest.raises(KeyError), restored():
        os.environ |= {"NEW": "1", "HOME": "/nowhere"}
        del os.environ["PATH"]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        raise KeyError
    assert state() == before


def test_sigterm_ends_a_block_as_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt), terminable():
        signal.raise_signal(signal.SIGTERM)


def test_in_another_thread_no_handler_is_touched() -> None:
    before = state()

    def work() -> None:
        with restored(), terminable(), environment(NEW="1"):
            assert state()["handlers"] == before["handlers"]

    assert in_a_thread(work) is None
    assert state() == before


def test_a_test_without_a_mark_cannot_start_ray() -> None:
    with pytest.raises(OSError, match=os.environ["RAY_TMPDIR"]):
        ray.init(num_cpus=1)
    assert not ray.is_initialized()


# Sweeps of one process, in the Ray of the session


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=4, slices=3, size=32)


@pytest.mark.ray
def test_after_a_sweep_the_process_is_what_it_was_and_runs_another(
    patients: Path, tmp_path: Path
) -> None:
    before, job = state(), ray.get_runtime_context().get_job_id()
    words = [f"--data={patients}", f"--storage={tmp_path}", "--trials=1"]
    for name, wishes in {"first": ["--wandb=offline", "--offline"], "second": []}.items():
        run(SWEEP, [*words, f"--name={name}", *wishes])
        assert [trial.state for trial in Run(tmp_path / name).trials()] == ["done"]
        assert state() == before
        assert not [thread.name for thread in threads() if "wandb-mirror" in thread.name]
    with pytest.raises(SystemExit):
        run(SWEEP, [*words, "--name=third", "--workers=64", "--set=batch_size=128", "--offline"])
    assert state() == before
    assert ray.is_initialized() and ray.get_runtime_context().get_job_id() == job


@pytest.mark.ray
def test_sigterm_ends_a_sweep_in_good_order_and_leaves_the_process_as_it_was(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Run(tmp_path / "again").trial("0000").metrics

    def terminate() -> None:
        while not rows.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    before, words = state(), [f"--data={patients}", f"--storage={tmp_path}", "--epochs=3000"]
    Thread(target=terminate, daemon=True).start()
    with pytest.raises(SystemExit) as ended:
        run(SWEEP, [*words, "--wandb=off"])
    assert ended.value.code == 130 and "interrupted" in capsys.readouterr().err
    assert Run(tmp_path / "again").drivers()[-1]["reason"] == "interrupted"
    assert state() == before


@pytest.mark.ray
def test_in_another_thread_a_sweep_runs_and_one_without_room_ends(
    patients: Path, tmp_path: Path
) -> None:
    before = state()
    job = Job(data=str(patients), storage=tmp_path / "a", wandb="off", wait_minutes=0)
    said: list[str] = []
    assert in_a_thread(lambda: run_sweep(SWEEP, job, said.append)) is None, said
    assert state() == before
    job = Job(data=str(patients), storage=tmp_path / "b", wandb="off", wait_minutes=0)
    others = placement_group([{"CPU": 1}] * 2)
    ray.get(others.ready())
    try:
        ended = in_a_thread(lambda: run_sweep(SWEEP, job, said.append))
        assert isinstance(ended, Ended) and "no trial found room" in str(ended), said
        assert state() == before
        groups = placement_group_table().values()
        assert [g["state"] for g in groups if g["state"] != "REMOVED"] == ["CREATED"]
    finally:
        remove_placement_group(others)


STOPPED = """
import subprocess, sys, time
from brainseg.process import stop_deferred, terminable
child = subprocess.Popen(["sleep", "60"])
with terminable(), stop_deferred() as asked:
    print(child.pid, flush=True)
    while not asked():
        time.sleep(0.01)
    print("in good order", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_process_and_all_that_it_started_at_once(
    first: signal.Signals, second: signal.Signals
) -> None:
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    child = psutil.Process(int(process.stdout.readline()))
    process.send_signal(first)
    assert process.stdout.readline() == "in good order\n"
    process.send_signal(second)
    assert process.wait(10) == 130
    until(lambda: is_gone(child))


def test_a_signal_that_was_ignored_before_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
