"""Laws of the templates: every text is escaped, nothing is missing, and a wheel has them all."""

import ast
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from brainseg.report.figures.style import Svg
from brainseg.report.html import Figure, render
from tests.support.small_run import HOSTILE

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(
    (item for item in files("brainseg.report").joinpath("templates").iterdir()),
    key=lambda item: item.name,
)


def test_text_is_escaped_and_a_drawing_is_not() -> None:
    assert "<script" not in render("replay", command=HOSTILE)
    figure = Figure(Svg("<svg></svg>"), caption=HOSTILE)
    text = render("figures", figures=[figure])
    assert "<svg></svg>" in text and "<script" not in text and "&lt;script" in text


def test_a_template_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'command' is undefined"):
        render("replay")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda item: item.name)
def test_no_template_lets_text_in_unescaped(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|\bMarkup\b", text)
    assert not re.search(r"<\s*(script|link|iframe|object|embed|base)\b|@import|url\(", text)


def test_markup_is_made_in_one_module() -> None:
    makers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "brainseg").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Markup"
    ]
    assert set(makers) == {"brainseg/report/html.py"}


def test_a_wheel_has_every_template() -> None:
    names = {item.name for item in TEMPLATES}
    assert "report.html.j2" in names and "style.css" in names
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = [
        path for pattern in patterns["package-data"]["brainseg"]
        for path in (ROOT / "brainseg").glob(pattern)
    ]  # fmt: skip
    assert names <= {path.name for path in packed}
