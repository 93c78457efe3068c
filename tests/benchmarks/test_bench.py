"""The table has every claim with its verdict; a benchmark that fails is named, others go on."""

from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.bench import Outcome, outcome_of, table, with_table
from benchmarks.claims import Claim

MODULES = {
    "fine": """
        import time
        from benchmarks.claims import Claim, ratios, taking_turns
        def claims(quick):
            print("a benchmark may print")
            works = {"slow": lambda: time.sleep(0.01), "fast": lambda: time.sleep(0.001)}
            seconds = taking_turns(works, 2 if quick else 5)
            values = ratios(seconds["slow"], seconds["fast"])
            return [Claim(what="a short nap", values=values, baseline="a long one", limit=2)]
    """,
    "slow": """
        from benchmarks.claims import Claim
        def claims(quick):
            return [Claim(what="a wait", values=[3.0], unit="s", limit=2, better="lower")]
    """,
    "broken": """
        def claims(quick):
            raise RuntimeError("the disk is full")
    """,
    "elsewhere": """
        from benchmarks.claims import NotHere
        def claims(quick):
            raise NotHere("there is no GPU")
    """,
}


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MODULES.items():
        lines = [line[8:] for line in text.splitlines()]
        (tmp_path / f"{name}_of_test.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{bench.ROOT}")


def outcomes(*names: str) -> list[Outcome]:
    return [outcome_of(f"{name}_of_test", quick=True) for name in names]


def test_what_was_measured_what_failed_and_what_is_lacking_stand_in_one_table() -> None:
    fine, slow, broken, elsewhere = outcomes("fine", "slow", "broken", "elsewhere")
    assert len(fine.claims[0].values) == 2 and fine.claims[0].figure > 2
    assert [o.is_good for o in (fine, slow, broken, elsewhere)] == [True, False, False, True]
    lines = table([fine, slow, broken, elsewhere]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:4]]
    assert cells[2][0] == "a short nap" and cells[2][3:] == [
        *("a long one", "at least 2x", "yes", "`fine_of_test`")
    ]  # fmt: skip
    assert cells[3] == ["a wait", "3 s", "", "", "at most 2 s", "**no**", "`slow_of_test`"]
    assert lines[4:] == [
        *("", "`benchmarks/broken_of_test.py` failed: RuntimeError: the disk is full."),
        *("", "`benchmarks/elsewhere_of_test.py` was not run: there is no GPU."),
    ]


def test_the_page_gets_the_table_and_keeps_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    begin, end = bench.MARKERS
    page.write_text(f"# Speed\n\n{begin}\nold\n{end}\n\nThe rest.\n")
    assert bench.bench(["fine_of_test"], quick=True, page=page) == 0
    text = page.read_text()
    assert text.startswith(f"# Speed\n\n{begin}\n\nA quick run, with few rounds on ")
    assert text.endswith(f"| `fine_of_test` |\n\n{end}\n\nThe rest.\n")
    assert "old" not in text and " cores, " in text and "torch " in text and " at commit " in text
    assert "| a short nap |" in capsys.readouterr().out
    assert bench.bench(["slow_of_test", "fine_of_test"], quick=True, page=None) == 1
    assert page.read_text() == text


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="a page must have the lines <!-- make bench: begins -->"):
        with_table("# Speed\n", "")


def test_a_limit_is_held_against_the_median() -> None:
    claim = Claim(what="x", values=[0.5, 1.2, 1.1], limit=1.0)
    assert Outcome(name="x", claims=(claim,)).is_good
    assert "| 1.1x | 0.5 to 1.2 |" in table([Outcome(name="x", claims=(claim,))])


def test_every_benchmark_that_claims_something_is_measured_and_the_page_has_the_markers() -> None:
    folder = bench.ROOT / "benchmarks"
    claiming = {p.stem for p in folder.glob("*.py") if "\ndef claims(quick: bool" in p.read_text()}
    assert claiming <= set(bench.BENCHMARKS)
    with_table(bench.PAGE.read_text(), "")
