"""Tables in a terminal: which columns there is room for, and names that break between their parts.

A name reads `tu-swin_tiny_patch4_window7_224, imagenet, first 3 frozen`: its parts end at commas.
Columns that matter less are left out before a name is broken.
"""

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP, EDGES = 2, 2  # blanks between two columns, and at both ends together
USUAL = 42  # a name of up to so many characters stays on one line while there are columns to drop


def bare_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def plain_table(
    columns: Sequence[str], *, left: Collection[str], wrap: Collection[str] | None = None
) -> Table:
    """A bare table, numbers to the right.

    Args:
        left: columns of words.
        wrap: the only columns that may be broken over lines; None: all.
    """
    table = bare_table()
    for name in columns:
        table.add_column(
            name,
            justify="left" if name in left else "right",
            no_wrap=wrap is not None and name not in wrap,
            overflow="fold",
        )
    return table


def fit(
    cells: Mapping[str, Sequence[str]],
    names: Sequence[str],
    *,
    droppable: Sequence[str],
    width: int,
) -> tuple[list[str], int]:
    """The heads of the columns to show, and the width that is left for the names.

    Args:
        cells: the texts of every other column by its head.
        names: the texts of the column with names.
        droppable: heads that may go, the first one first.
        width: of the terminal.
    """
    widths = {head: max(map(_width, (head, *texts))) for head, texts in cells.items()}
    wanted = max((min(_width(name), USUAL) for name in names), default=0)
    wanted = max([wanted, *(cell_len(part) for name in names for part in parts(name))])
    for head in (*droppable, ""):
        left = width - EDGES - sum(GAP + needed for needed in widths.values())
        if left >= wanted or not head:
            break
        widths.pop(head, None)
    return list(widths), max(left, 1)


def broken(text: str, width: int) -> str:
    """``text`` on lines of at most ``width``, broken between its parts."""
    return _filled(parts(text), width)


def print_prose(console: Console, text: str) -> None:
    """Print sentences broken between words: a path wider than the terminal can still be copied."""
    filled = _filled(text.split(" "), console.width)
    console.print(Text(filled), overflow="ignore", no_wrap=True, crop=False)


def _filled(units: Sequence[str], width: int) -> str:
    """Lines of as many ``units`` as fit; one that is wider than a line has its own."""
    lines: list[str] = []
    for unit in units:
        if lines and cell_len(f"{lines[-1]} {unit}") <= width:
            lines[-1] += f" {unit}"
        else:
            lines.append(unit)
    return "\n".join(lines)


def parts(text: str) -> list[str]:
    """What stands between commas, each with the comma that ends it."""
    *before, last = text.split(", ")
    return [*(f"{part}," for part in before), last]


def left_out(dropped: Sequence[str], width: int, file: str) -> str:
    """A sentence on the columns that there was no room for; "" if all are shown."""
    if not dropped:
        return ""
    names = ", ".join(dropped).replace("\n", " ")
    return f"Not shown in {width} columns: {names}; see {file}."


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))
