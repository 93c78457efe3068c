"""What every test shares, and real material that lies beside the repository on some machines."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test module is collected, since albumentations reads this when it is imported.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("RAY_ADDRESS", None)  # sweeps in processes of their own begin a Ray of their own
# What a shell runs with & ignores Ctrl-C, with nohup a hang-up, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if "PYTEST_XDIST_WORKER" in os.environ:  # processes side by side, each with a CPU
    os.environ["OMP_NUM_THREADS"] = "1"

NO_FOLDER = "/dev/null/only-tests-marked-ray-or-cluster-start-Ray"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def beside_the_repository(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the repository")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a single process tests of Ray come last, so that no other test finds Ray running.

    Of several processes the first gets them, first of all: the others start with later tests, and
    take some of Ray's, with a Ray of their own, only when nothing else is left.
    """
    several = "PYTEST_XDIST_WORKER" in os.environ
    items.sort(key=_may_start_ray, reverse=several)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Ray, in this process or another, begins with a folder; other tests give it none."""
    with pytest.MonkeyPatch.context() as patch:
        if not _may_start_ray(item):
            patch.setenv("RAY_TMPDIR", NO_FOLDER)
            _end_ray()  # which runs here only if, of several processes, this had tests of Ray
        return (yield)


@pytest.fixture(autouse=True)
def ray_of_the_session(request: pytest.FixtureRequest, own_cache: None) -> None:
    """Tests marked `ray` find the one Ray of this process running; sweeps in it join it.

    It has 2 CPUs and no GPU, and is one as sweeps start it. Its trials have the environment of
    its start, not what a test sets later.
    """
    if request.node.get_closest_marker("ray"):
        from brainseg.cluster import session

        if not session.has_started():  # the first such test, or the first after others
            session.start(num_cpus=2, num_gpus=0)


def pytest_sessionfinish() -> None:
    _end_ray()


def _end_ray() -> None:
    if (ray := sys.modules.get("ray")) and ray.is_initialized():
        ray.shutdown()


def _may_start_ray(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("ray", "cluster"))


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
