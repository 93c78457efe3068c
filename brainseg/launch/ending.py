"""What ends a sweep before its search does: a signal, or a storage that fails."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune

from brainseg.cluster.capacity import LOOK_SECONDS
from brainseg.cluster.ray_folder import ray_folder
from brainseg.launch.room_timeout import Interrupted
from brainseg.records.cache import default_cache
from brainseg.records.run import Run
from brainseg.records.storage import GONE_WORDS, StorageFault, fault_of


@contextmanager
def faults_said(run: Run) -> Iterator[None]:
    """Turn whatever a failing storage brought about in the block into a StorageFault.

    Tune wraps what its callbacks raise, Ray what a trial raises; and where the run's folder went
    away, anything may have failed for it.
    """
    try:
        yield
    except Exception as error:
        if (fault := fault_behind(error, run)) is None:
            raise
        raise fault from error


def fault_behind(error: BaseException, run: Run) -> StorageFault | None:
    """The storage's fault that ``error``, or what led to it, shows; None if there is none."""
    temporary = Path(tempfile.gettempdir()), ray_folder(), Path("/dev/shm")
    folders = (run.path, default_cache(), *temporary)
    for link in _links(error):
        if isinstance(link, StorageFault):
            return StorageFault(link.path, link.cause)  # of the cache, too: a trial was running
        if isinstance(link, BrokenPipeError):  # who reads what is printed went away
            raise link
        if isinstance(link, OSError) and (fault := fault_of(link, *folders)):
            return fault
    return None if run.sweep.exists() else StorageFault(run.path, GONE_WORDS)


class EndWatcher(tune.Callback):
    """Raises, out of Tune, ``Interrupted`` after a signal and StorageFault where a storage fails.

    Tune then ends the trials' processes within seconds.
    """

    def __init__(self, run: Run, interrupted: Callable[[], bool]) -> None:
        self.run, self.interrupted = run, interrupted
        self._looked = -LOOK_SECONDS

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.interrupted():
            raise Interrupted("interrupted")
        now = time.monotonic()
        if now >= self._looked + LOOK_SECONDS:  # a trial would learn of it at its epoch's end
            self._looked = now
            if not self.run.sweep.exists():
                raise StorageFault(self.run.path, GONE_WORDS)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._raise_fault(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._raise_fault(trial)

    def _raise_fault(self, trial: Any) -> None:
        """A trial that died of the storage has not failed: no retry, no record of a failure."""
        if (error := error_of(trial)) and (fault := fault_behind(error, self.run)):
            raise fault

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; each driver makes a new one


def error_of(trial: Any) -> Exception | None:
    """What a trial of Tune died of; ``get_error`` looks where Tune copies it to, but only later."""
    file = trial.pickled_error_file
    error: Exception | None = None
    if file and Path(file).exists():
        error = cloudpickle.loads(Path(file).read_bytes())
    return error


def _links(error: BaseException) -> Iterator[BaseException]:
    """An error and all that led to it, without Ray's wrappers."""
    pending, known = [error], set[int]()
    while pending:
        link = pending.pop(0)
        if id(link) in known:
            continue
        known.add(id(link))
        inner = [getattr(link, "cause", None), *getattr(link, "worker_failures", {}).values()]
        inner = [cause for cause in inner if isinstance(cause, BaseException)]
        if not inner:
            yield link
        pending += inner + [e for e in (link.__cause__, link.__context__) if e]
