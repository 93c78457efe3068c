"""What import contracts cannot say: the two lowest packages and the public interface."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG, RECORDS = (
    sorted((ROOT / "brainseg" / name).rglob("*.py")) for name in ("config", "records")
)
SWEEPS = sorted((ROOT / "sweeps").glob("*.py"))


def packages(path: Path) -> set[str]:
    """Names of the packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("brainseg" if node.level else str(node.module))
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", CONFIG, ids=lambda path: path.stem)
def test_config_needs_the_standard_library_alone(path: Path) -> None:
    assert packages(path) <= {"brainseg", *sys.stdlib_module_names}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records_need_the_standard_library_and_filelock(path: Path) -> None:
    assert packages(path) <= {"brainseg", "filelock", *sys.stdlib_module_names}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_needs_nothing_but_brainseg(path: Path) -> None:
    assert packages(path) <= {"brainseg", *sys.stdlib_module_names}


def test_importing_brainseg_and_its_command_line_loads_no_heavy_library() -> None:
    code = (
        "import sys, brainseg.cli.main\n"
        "print(*{'torch', 'numpy', 'pandas', 'ray', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_public_interface_loads_the_standard_library_alone() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from brainseg import Bayes, Budget, Points, Space, Split, Sweep, TrialConfig, run\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*loaded - set(sys.stdlib_module_names) - {'brainseg'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("brainseg.training.loop", "ray albumentations optuna wandb cv2 nibabel timm"),
        ("brainseg.training.learner", "ray albumentations optuna cv2 nibabel pandas"),
        ("brainseg.training.compute.machine", "ray albumentations optuna wandb cv2 timm pandas"),
        ("brainseg.training.trial", "ray optuna rich"),
    ],
)
def test_training_loads_no_library_that_it_does_not_use(module: str, heavy: str) -> None:
    code = f"import sys, {module}\nprint(*{set(heavy.split())} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_only_cli_imports_argparse() -> None:
    others = set((ROOT / "brainseg").rglob("*.py")) - set((ROOT / "brainseg/cli").rglob("*.py"))
    assert [path for path in others if "argparse" in packages(path)] == []
