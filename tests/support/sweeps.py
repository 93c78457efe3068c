"""Sweeps in this process, in the Ray of the session: what a person types, and what is printed."""

import io
import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from brainseg.cli import main as command_line
from brainseg.config.sweep import Sweep

ROOT = Path(__file__).parents[2]
ENCODERS = ROOT / "sweeps" / "encoders.py"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit status {self.status}\n{self.stdout}{self.stderr}"


def script(path: Path) -> Sweep:
    """The sweep of a script in sweeps/."""
    sweep = runpy.run_path(str(path))["sweep"]
    assert isinstance(sweep, Sweep)
    return sweep


def run_script(path: Path, *words: str) -> Done:
    """`python path words`."""
    return _ended(str(path), lambda: command_line.run(script(path), words))


def brainseg(*words: str) -> Done:
    """`brainseg words`."""
    return _ended("brainseg", lambda: command_line.main(words))


def _ended(program: str, work: Callable[[], None]) -> Done:
    out, err, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", [program]):
        try:
            work()
        except SystemExit as ended:
            assert isinstance(ended.code, int), ended
            status = ended.code
    return Done(status, out.getvalue(), err.getvalue())
