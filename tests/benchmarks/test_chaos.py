"""A sweep that kills, a lost machine, a full disk and a left lock disturb ends like a calm one."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import differences, full, outcome
from brainseg.records.files import read_lines
from brainseg.records.run import Run

ROOT = Path(__file__).parents[2]
OLD_RUN = ROOT / "tests" / "support" / "old_run"


def test_the_order_of_the_faults_follows_from_the_seed() -> None:
    one, again, other = (full(28, disk=True, drawn=random.Random(seed)) for seed in (0, 0, 1))
    assert one == again != other
    names = [fault.__name__ for weather in one for fault in weather.faults]
    assert sum(name.startswith("kill_") for name in names) == 28
    assert names.count("fill_disk") == 2 and "lose_node" in names


@pytest.mark.parametrize(
    ("changes", "different"),
    [({"seconds": 1e3}, []), ({"dice": 0.25}, ["0000 curve"])],
)
def test_what_a_sweep_found_is_compared_and_seconds_are_not(
    tmp_path: Path, changes: dict[str, Any], different: list[str]
) -> None:
    runs = [
        Run(Path(shutil.copytree(OLD_RUN, tmp_path / where / "encoders"))) for where in ("a", "b")
    ]
    curve = runs[1].trial("0000").metrics
    rows = [row | changes for row in read_lines(curve)]
    curve.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert differences(outcome(runs[0]), outcome(runs[1])) == different


@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_a_disturbed_sweep_ends_with_the_tables_curves_and_states_of_an_undisturbed_one() -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-m", "benchmarks.chaos", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all is equal"
