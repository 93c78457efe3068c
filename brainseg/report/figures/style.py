"""Curves, dots and outlines of a sweep as SVG that stands in a page: the door to matplotlib.

The best few trials have a colour each, the same in every figure; all others are grey.
Shapes: K slices, H rows, W columns.
"""

import re
import warnings
from collections.abc import Mapping
from html import escape
from io import StringIO
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito (2008)
TRUTH, PREDICTION = "#56B4E9", "#E69F00"  # apart for the colour-blind, both bright on grey
INK, FAINT, GREY = "#1b1f24", "#6b7280", "#c3c8d0"
STYLE: dict[Any, Any] = {  # of matplotlib
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a `$` in the name of a weights file is a dollar
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e8eaee",
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: small, sharp, can be searched
}


def as_svg(figure: Figure, title: str, hover: Mapping[str, str] | None = None) -> str:
    """The figure as an `<svg>` element; ``hover`` gives parts, by their gid, a text to show."""
    buffer = StringIO()
    with rc_context({"svg.hashsalt": title}), warnings.catch_warnings():
        # The browser has its own fonts; that matplotlib's lacks a sign does not matter.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="svg", transparent=True,
                       metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # fmt: skip
    text = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r'<svg([^>]*?) width="[^"]*" height="[^"]*"', r"<svg\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    for name, words in (hover or {}).items():
        text = text.replace(f'<g id="{name}">', f"<g><title>{escape(words)}</title>", 1)
    return text
