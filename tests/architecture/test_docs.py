"""What README and docs name is there: files, headings, benchmarks, and every package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")
PATH = re.compile(r"(?<![\w/.~$-])((?:brainseg|sweeps|cluster|tests|benchmarks|docs)/[\w./-]+)")
PLACEHOLDERS = {"sweeps/X.py"}
PENDING = {"docs/report.png"}  # a screenshot of a real report; remove this once it is there


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists() or link in PENDING, link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_benchmark_named_exists(page: Path) -> None:
    for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text()):
        assert (ROOT / "benchmarks" / f"{name}.py").exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_exists(page: Path) -> None:
    for path in set(PATH.findall(page.read_text())) - PLACEHOLDERS - PENDING:
        assert (ROOT / path.rstrip(".")).exists(), path


def test_the_readme_names_every_package() -> None:
    text = (ROOT / "README.md").read_text()
    for package in (ROOT / "brainseg").iterdir():
        if (package / "__init__.py").exists():
            assert f"`brainseg/{package.name}`" in text, package.name


def test_the_index_names_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES[1:]:
        assert page.name == "index.md" or f"]({page.name})" in text, page.name
