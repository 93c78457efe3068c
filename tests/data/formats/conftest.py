"""Made-up patients that tests write in other layouts."""

from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients in the LGG layout."""
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=3, slices=5, size=32)
