"""A storage's fault is found behind whatever Tune and Ray made of it."""

import pickle
from errno import ENOSPC
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.tune import TuneError

from brainseg.launch.ending import fault_behind, faults_said
from brainseg.records.run import Run
from brainseg.records.storage import StorageFault
from tests.support.written import new_run, write_json


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = new_run(tmp_path / "s" / "a")
    write_json(run.sweep, {})
    return run


def full(run: Run) -> OSError:
    return OSError(ENOSPC, "No space left on device", str(run.changes))


def test_what_a_callback_raised_is_found_behind_tune_s_error(run: Run) -> None:
    with pytest.raises(StorageFault) as caught, faults_said(run):
        try:
            raise full(run)
        except OSError:
            raise TuneError("a traceback of many lines") from None
    assert (caught.value.path, caught.value.cause) == (run.path, "No space left on device")


@pytest.mark.parametrize("wrapped", [False, True], ids=["as raised", "as the trial's process says"])
def test_what_a_trial_died_of_is_found_behind_ray_s_error(run: Run, wrapped: bool) -> None:
    cause = StorageFault(run.path, "No space left on device") if wrapped else full(run)
    error = RayTaskError("train", "a traceback", cause).as_instanceof_cause()
    fault = fault_behind(cloudpickle.loads(cloudpickle.dumps(error)), run)
    assert fault and str(pickle.loads(pickle.dumps(fault))).startswith(
        f"{run.path} cannot be used any longer (No space left on device); make room"
    )


def test_where_the_folder_went_away_any_error_is_its_fault(run: Run) -> None:
    run.path.rename(run.path.with_name("moved"))
    with pytest.raises(StorageFault, match="it is no longer there"), faults_said(run):
        raise KeyError("0000")
    assert not run.path.exists()


def test_an_error_of_another_kind_stays_as_it_is(run: Run) -> None:
    with pytest.raises(ConnectionResetError), faults_said(run):
        raise ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(TimeoutError), faults_said(run):
        raise TimeoutError(110, "Connection timed out")
