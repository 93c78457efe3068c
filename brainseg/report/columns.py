"""Tables in a terminal: which columns there is room for, and names that break between their parts.

A name reads `tu-swin_tiny_patch4_window7_224, imagenet, first 3 frozen`: its parts end at commas.
Columns that matter less are left out before a name is broken.
"""

from collections.abc import Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table

GAP, EDGES = 2, 2  # blanks between two columns, and at both ends together
USUAL = 42  # a name of up to so many characters stays on one line while there are columns to drop


def bare_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


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
    lines: list[str] = []
    for part in parts(text):
        if lines and cell_len(f"{lines[-1]} {part}") <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def parts(text: str) -> list[str]:
    """What stands between commas, each with the comma that ends it."""
    *before, last = text.split(", ")
    return [*(f"{part}," for part in before), last]


def left_out(dropped: Sequence[str], width: int, file: str) -> str:
    """A sentence on the columns that there was no room for; "" if all are shown."""
    if not dropped:
        return ""
    return f"Not shown in {width} columns: {', '.join(dropped)}; see {file}."


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))
