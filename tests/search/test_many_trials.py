"""What a driver reads, and how long it judges, does not grow with the number of its trials."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.driver_cost import searching
from benchmarks.long_sweep import Kind, LongSweep
from brainseg.records.run import Run
from brainseg.search.observations import Observation
from brainseg.search.proposals.samplers import OptunaProposals
from sweeps.encoders import sweep as ENCODERS

opened: list[str] = []  # since they were last counted
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


def bytes_read() -> int:
    """By this process so far, from whatever file."""
    status = Path("/proc/self/io").read_text(encoding="ascii")
    return int(dict(line.split(": ") for line in status.splitlines())["rchar"])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="Linux alone counts what is read")
@pytest.mark.parametrize("objectives", [("dice",), ("dice", "parameters")])
def test_an_event_reads_as_much_among_many_trials_as_among_few(
    tmp_path: Path, objectives: tuple[str, ...]
) -> None:
    counted: dict[tuple[Kind, bool], list[tuple[int, int]]] = {}

    @contextmanager
    def watched(kind: Kind) -> Iterator[None]:
        opened.clear()
        before = bytes_read()
        yield
        files = sum(path.startswith(str(tmp_path)) for path in opened)
        many = len(sweep.scheduler.trials) > 40
        counted.setdefault((kind, many), []).append((files, bytes_read() - before))

    searched = searching(64, "random", objectives)
    sweep = LongSweep(Run(tmp_path / "run"), searched, watch=watched)
    sweep.drive()
    for kind in ("start", "epoch", "end", "decision"):
        few, many = counted[kind, False], counted[kind, True]
        assert len(few) > 10 and len(many) > 10
        assert max(files for files, _ in many) <= max(files for files, _ in few)
        assert np.mean([size for _, size in many]) < 1.3 * np.mean([size for _, size in few])


def shown(number: int, rng: np.random.Generator) -> Observation:
    reached = int(rng.choice([2, 6, 18, 20]))
    scores = rng.integers(0, 50, reached) / 50  # many of them equal
    params = ENCODERS.space.split({"model": "plain"})[0] if number % 3 == 0 else {}
    return Observation(params=params, epochs=20, best=tuple(scores.tolist()))


def test_points_drawn_at_random_do_not_depend_on_what_was_seen() -> None:
    proposals = OptunaProposals(ENCODERS.space, "random")
    rng = np.random.default_rng(0)
    seen = [replace(shown(number, rng), params={"model": "plain"}) for number in range(5)]
    assert proposals.propose(seen, 3) == proposals.propose([], 3) != proposals.propose([], 4)
