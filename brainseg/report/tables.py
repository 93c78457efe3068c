"""The one look of tables in a terminal."""

from collections.abc import Collection, Sequence

from rich import box
from rich.table import Table


def plain_table(
    columns: Sequence[str], *, left: Collection[str], wrap: Collection[str] | None = None
) -> Table:
    """A table without lines; numbers to the right.

    Args:
        left: columns of words.
        wrap: the only columns that may be broken over lines; None: all.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(
            name,
            justify="left" if name in left else "right",
            no_wrap=wrap is not None and name not in wrap,
            overflow="fold",
        )
    return table
