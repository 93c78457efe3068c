"""Every help: 80 columns, groups, a word for each value, and its default."""

import argparse
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.cli.main import main
from brainseg.cli.options.parser import Parser
from brainseg.cli.options.sweep import add_sweep_options

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "check",
    "split",
    "phantom",
    "doctor",
    "encoders",
    "weights",
    "lr-range",
    "plan",
    "train",
    "report",
    "confirm",
    "compare",
    "wandb",
    "refit",
    "evaluate",
    "predict",
    "export",
    "reproduce",
]
HELPS = [
    [],
    *([command] for command in COMMANDS),
    ["weights", "fetch"],
    ["weights", "list"],
    ["wandb", "sync"],
]
SCRIPTS = sorted((ROOT / "sweeps").glob("*.py"))


def shown(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_a_help_fits_eighty_columns(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert max(map(len, shown(words, monkeypatch, capsys).splitlines())) <= 80


def test_the_first_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = re.findall(r"(?m)^    ([a-z-]+)(?: +\w|$)", shown([], monkeypatch, capsys))
    assert listed == COMMANDS


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_option_of_a_sweep_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = Parser(prog=f"sweeps/{path.name}")
    add_sweep_options(parser, runpy.run_path(str(path))["sweep"])
    assert max(map(len, parser.format_help().splitlines())) <= 80
    for action in parser._actions:
        assert action.help, action.option_strings
        takes_value = action.nargs != 0
        assert not takes_value or action.metavar or action.dest in ("layout", "name")
        if takes_value and action.default not in (None, [], (), argparse.SUPPRESS):
            assert "default" in action.help, action.option_strings


def test_help_answers_at_once() -> None:
    code = (
        "import sys, time; begun = time.process_time()\n"
        "from brainseg.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: print(time.process_time() - begun, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stderr) < 0.5, "CPU seconds; about 0.1 on an idle core"
