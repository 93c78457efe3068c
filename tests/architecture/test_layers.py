"""Two laws of the layout: imports point down, and every heavy library has its door."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = [
    "__init__ causes process space config sweep records meter claims rungs listening shared_folder",
    "channels problems files headers volumes images listing layout_pictures layout_volumes"
    " layout_manifest layouts table levels packing phantom pack batches normalise sequences augment"
    " encoders weights registry freezing catalogue work schedules model losses metrics optim loop"
    " duplicates survey oddities check strata splits baselines remote proposals paired"
    " node_facts",
    "lr_range peers learner panels trial probe costs worker checkpoint tracking",
    "launch begin search study race spending earlier tradeoff cluster placement nodes vacancies"
    " waiting recorder preflight forecast plan reach doctor",
    "arms merit ledger report page figures markup data_report data_page split_report verdicts"
    " compare confirm fronts front_page figure_front figure_forest compare_page"
    " scores findings findings_software findings_machines findings_outside diagnosis",
    "cli options verb_sweep verb_data verb_encoders verb_weights verb_lr_range verb_confirm"
    " verb_compare verb_plan verb_doctor",
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names.split()}
DOORS = {
    "ray": "worker launch search cluster nodes waiting recorder",
    "ray.tune": "launch search waiting recorder",
    "optuna": "study",
    "wandb": "tracking",
    "albumentations": "augment",
    "segmentation_models_pytorch": "model encoders weights losses",
    "timm": "encoders weights",
    "matplotlib": "figures figure_forest figure_front",
    "nibabel": "volumes",
    "PIL": "images",
    "pyarrow": "remote",
    "fsspec": "remote",
    "cv2": "duplicates images packing augment phantom",
}
MODULES = sorted((ROOT / "brainseg").rglob("*.py"))
SWEEPS = sorted((ROOT / "sweeps").glob("*.py"))


def imported(source: str) -> set[str]:
    """Every dotted name an import could mean: `from ray import tune` is both ray and ray.tune."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["brainseg" if node.level else "", node.module]))
            names |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return names


def faults(module: str, source: str) -> list[str]:
    """What `source` would break if it were `brainseg/<module>.py`."""
    if module not in FLOOR:
        return [f"{module} stands on no floor: add it to FLOORS"]
    found = []
    for name in sorted(imported(source)):
        package, _, rest = name.partition(".")
        neighbour = rest.split(".")[0]
        if package == "brainseg" and FLOOR.get(neighbour, 0) > FLOOR[module]:
            found.append(f"{module} reaches up to {neighbour}")
        if FLOOR[module] == 0 and package not in {"brainseg", *sys.stdlib_module_names}:
            found.append(f"{module} stands on floor 0, where only the standard library is: {name}")
        for library, doors in DOORS.items():
            if f"{name}.".startswith(f"{library}.") and module not in doors.split():
                found.append(f"{module} is no door to {library}: {name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_down_and_go_through_doors(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT / "brainseg").with_suffix("").parts)
    assert not faults(module, path.read_text())


def test_the_report_needs_no_page() -> None:
    assert "brainseg.report.page" not in imported((ROOT / "brainseg" / "report.py").read_text())


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_needs_nothing_but_brainseg(path: Path) -> None:
    packages = {name.partition(".")[0] for name in imported(path.read_text())}
    assert packages <= {"brainseg", *sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("helpers", ""),
        ("models.unet", ""),
        ("loop", "import brainseg.worker"),
        ("loop", "from brainseg import launch"),
        ("loop", "from . import cli"),
        ("metrics", "from .report import table"),
        ("model", "def build():\n    from brainseg.tracking import mirror"),
        ("space", "import numpy"),
        ("__init__", "from brainseg.training.loop import train_epoch"),
        ("metrics", "import segmentation_models_pytorch.metrics as smp"),
        ("worker", "from ray import train, tune"),
        ("worker", "def report():\n    import ray.tune"),
        ("tracking", "from ray.tune.logger import LoggerCallback"),
        ("cluster", "import optuna"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert faults(module, source)


def test_what_the_layout_allows_is_no_breach() -> None:
    assert not faults(
        "launch", "import brainseg\nfrom ray import tune\nfrom brainseg import worker"
    )
    assert not faults(
        "worker", "import ray.train\nimport torch, rayleigh\nfrom brainseg import loop"
    )
