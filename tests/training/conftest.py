"""A run's folder that trials of a second can train in."""

from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.records.run import Run
from tests.support.trials import run_of


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=7, size=48)


@pytest.fixture
def run(phantoms: Path, tmp_path: Path) -> Run:
    """A run's folder with seven-slice patients, so that nothing divides by 2 or by 6."""
    return run_of(phantoms, tmp_path / "run")


@pytest.fixture
def listed(phantoms: Path, tmp_path: Path) -> Run:
    """The same for a list of points, whose trials are scored at their last epoch."""
    return run_of(phantoms, tmp_path / "listed", kind="points")
