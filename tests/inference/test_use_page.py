"""The Python of docs/use.md runs as it stands, and loads no library of sweeps."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.inference.bundle import write_bundle
from brainseg.inference.sources import open_model
from tests.support.trials import TINY, nothing, run_of, trained

PAGE = Path(__file__).parents[2] / "docs" / "use.md"


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_phantoms(tmp_path / "data", patients=4, slices=3, size=40)
    trial = trained(run_of(data, tmp_path / "run"), "0000", TINY, nothing)
    write_bundle(tmp_path / "my-model", open_model(trial.path))
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert snippets
    for snippet in snippets:
        heavy = ["ray", "wandb", "matplotlib", "optuna"]
        code = f"{snippet}\nimport sys\nprint('loaded:', *set({heavy}) & set(sys.modules))\n"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("loaded:\n"), done.stdout
