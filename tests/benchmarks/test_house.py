"""The house's figures: what is counted, and what passes a limit."""

from pathlib import Path

from benchmarks.house import House, measured


def house_of(folder: Path, text: str, modules: int = 1) -> House:
    package = folder / "package"
    package.mkdir()
    for number in range(modules):
        (package / f"module_{number}.py").write_text(text)
    (package / "__init__.py").write_text("")
    return measured(package)


def test_a_docstring_is_no_part_of_a_function_s_length(tmp_path: Path) -> None:
    text = 'def area():\n    """One line.\n\n    And more.\n    """\n    return 1\n'
    house = house_of(tmp_path, text)
    assert house.functions == {"package/module_0.py:area": 2}
    assert house.lines == {"package/module_0.py": 6} and not house.faults()


def test_what_passes_a_limit_is_named_with_its_size(tmp_path: Path) -> None:
    house = house_of(tmp_path, "def long():\n" + "    x = 1\n" * 300, modules=15)
    faults = house.faults()
    assert "package has 15 modules; at most 14: split it" in faults
    assert "package/module_3.py has 301 lines; at most 300: split it" in faults
    assert "package/module_3.py:long has 301 lines; at most 45: split it" in faults


def test_brainseg_keeps_its_limits() -> None:
    assert not measured(Path(__file__).parents[2] / "brainseg").faults()
