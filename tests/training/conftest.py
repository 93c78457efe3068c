"""A run's folder that trials of a second can train in."""

from pathlib import Path

import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.draw import split_by_patient
from brainseg.data.table import fingerprint
from brainseg.records.run import Run
from tests.support.written import write_json


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=7, size=48)


@pytest.fixture
def run(phantoms: Path, tmp_path: Path) -> Run:
    """A run's folder with seven-slice patients, so that nothing divides by 2 or by 6."""
    table = find_slices(phantoms)
    table["part"] = split_by_patient(table, validation=0.3, test=0.0)
    run = Run(tmp_path / "run")
    run.path.mkdir()
    table.to_csv(run.slices, index=False)
    data = {"root": str(phantoms), "fingerprint": fingerprint(table, phantoms)}
    write_json(run.sweep, {"data": data})
    return run
