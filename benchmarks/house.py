"""Sizes of the code: modules a folder, lines a file, lines a function; import contracts.

    python -m benchmarks.house           prints the table
    python -m benchmarks.house --check   also ends with status 1 where a limit is passed

A function's length leaves out its docstring. Limits: 14 modules a folder, 300 lines a file, 45 a
function.
"""

import argparse
import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
MOST_MODULES, MOST_LINES, LONGEST_FUNCTION = 14, 300, 45


@dataclass(frozen=True)
class House:
    """Sizes of a package's folders, files and functions."""

    modules: Counter[str]  # of each folder, without __init__.py
    lines: dict[str, int]  # of each file
    functions: dict[str, int]  # of each function, "file:name"

    def faults(self) -> list[str]:
        limits = (
            ("modules", self.modules, MOST_MODULES),
            ("lines", self.lines, MOST_LINES),
            ("lines", self.functions, LONGEST_FUNCTION),
        )
        return [
            f"{name} has {size} {unit}; at most {most}: split it"
            for unit, sizes, most in limits
            for name, size in sizes.items()
            if size > most
        ]


def measured(package: Path) -> House:
    """Sizes of all that lies below ``package``."""
    modules: Counter[str] = Counter()
    lines: dict[str, int] = {}
    functions: dict[str, int] = {}
    for path in sorted(package.rglob("*.py")):
        name, text = str(path.relative_to(package.parent)), path.read_text()
        lines[name] = len(text.splitlines())
        modules[str(path.parent.relative_to(package.parent))] += path.name != "__init__.py"
        functions |= {f"{name}:{function}": size for function, size in _functions(text)}
    return House(modules, {name: size for name, size in lines.items() if size}, functions)


def _functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            spent = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1 - spent


def _spread(sizes: list[int]) -> str:
    ordered = sorted(sizes)
    return f"median {median(ordered):g}, p90 {ordered[int(0.9 * len(ordered))]}, max {ordered[-1]}"


def _contracts() -> str:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], capture_output=True, text=True, cwd=ROOT)
    return next(
        (line for line in done.stdout.splitlines() if line.startswith("Contracts:")),
        f"Contracts: not checked, {(done.stderr.strip() or 'no answer').splitlines()[-1]}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="status 1 where a limit is passed")
    args = parser.parse_args()
    house = measured(ROOT / "brainseg")
    widest, most = house.modules.most_common(1)[0]
    print(f"modules     {sum(house.modules.values())} in {len(house.modules)} folders; ", end="")
    print(f"at most {most} in one ({widest})")
    print(f"files       {_spread(list(house.lines.values()))} lines")
    print(f"functions   {_spread(list(house.functions.values()))} lines")
    print(_contracts())
    faults = house.faults()
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(args.check and faults))


if __name__ == "__main__":
    main()
