"""What every test shares, and real material that lies beside the repository on some machines."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test module is collected, since albumentations reads this when it is imported.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["WANDB_MODE"] = "offline"

SHARED = Path(__file__).resolve().parents[2] / "shared"


def beside_the_repository(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the repository")
    return path


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Packed slices of the tests never meet those of a real sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def lgg() -> Path:
    """Folder of 24 real patients of the LGG data set."""
    return beside_the_repository(SHARED / "lgg" / "kaggle_3m")


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    """One real pretrained encoder: MobileNetV2 on ImageNet."""
    return beside_the_repository(SHARED / "weights" / "mobilenet_v2.imagenet.pth")
