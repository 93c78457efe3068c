"""The folder that a test of check damages."""

import shutil
from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms
from tests.support.faults import SLICES, Data


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms") / "made up"
    return write_phantoms(root, patients=4, slices=SLICES, size=48)


@pytest.fixture
def data(untouched: Path, tmp_path: Path) -> Data:
    return Data(Path(shutil.copytree(untouched, tmp_path / "data")))
