"""Whatever README and docs name exists: files, headings, benchmarks, options, and every package."""

import re
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

from brainseg.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")
PATH = re.compile(r"(?<![\w/.~$-])((?:brainseg|sweeps|cluster|tests|benchmarks|docs)/[\w./-]+)")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
PLACEHOLDERS = {"sweeps/X.py"}
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
COMMAND = re.compile(r"(?:\bbrainseg ([a-z][a-z-]+)|sweeps/\w+\.py)([^`\n#']*)")


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_benchmark_named_exists(page: Path) -> None:
    for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text()):
        assert (ROOT / "benchmarks" / f"{name}.py").exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_exists(page: Path) -> None:
    for path in set(PATH.findall(page.read_text())) - PLACEHOLDERS:
        assert (ROOT / path.rstrip(".")).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_named_exists(page: Path) -> None:
    for path, name in set(TEST.findall(page.read_text())):
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


@cache
def options(*command: str) -> set[str]:
    """What the command's own help lists."""
    text = StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        main([*command, "--help"])
    return set(OPTION.findall(text.getvalue()))


def commands(name: str) -> list[list[str]]:
    """Where the options of a command are listed: some are those of a sweep or a second word's."""
    return [[name], *{"plan": [["train"]], "weights": [["weights", "fetch"]]}.get(name, [])]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "log.md"],  # its commands are those of their day
    ids=lambda page: page.name,
)
def test_every_option_shown_is_one_that_its_command_takes(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for command, rest in COMMAND.findall(text):
        known = set().union(*(options(*words) for words in commands(command or "train")))
        assert set(OPTION.findall(rest)) <= known, (command, rest)


def test_the_readme_names_every_package() -> None:
    text = (ROOT / "README.md").read_text()
    for package in (ROOT / "brainseg").iterdir():
        if (package / "__init__.py").exists():
            assert f"`brainseg/{package.name}`" in text, package.name


def test_the_index_names_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES[1:]:
        assert page.name == "index.md" or f"]({page.name})" in text, page.name
