"""The look of every figure, and a matplotlib figure as SVG that can stand in a page.

The best few trials have a colour each, the same in every figure; all others are grey.
"""

import warnings
from collections.abc import Mapping
from io import StringIO
from typing import Any, NewType
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

Svg = NewType("Svg", str)  # an `<svg>` element, whose text is escaped already
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito (2008)
TRUTH, PREDICTION = "#56B4E9", "#E69F00"  # distinct for the colour-blind, both bright on grey
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


SVG_NAMESPACE = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
NOT_XML = dict.fromkeys({*range(32)} - {9, 10, 13} | {0xFFFE, 0xFFFF}, "\N{REPLACEMENT CHARACTER}")


def as_svg(figure: Figure, title: str, hover: Mapping[str, str] | None = None) -> Svg:
    """The figure as an `<svg>` element; ``hover`` gives parts, by their gid, a text to show."""
    buffer = StringIO()
    with rc_context({"svg.hashsalt": title}), warnings.catch_warnings():
        # The browser has its own fonts; that matplotlib's lacks a character does not matter.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="svg", transparent=True,
                       metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # fmt: skip
    root = ElementTree.fromstring(buffer.getvalue().translate(NOT_XML))
    parts = {part.get("id"): part for part in root.iter()}
    for gid, text in (hover or {}).items():
        _show_on_hover(parts[gid], text)
    _stand_in_a_page(root)
    root.attrib = {"role": "img", "aria-label": title, "viewBox": root.attrib["viewBox"],
                   "stroke-linejoin": "round"}  # fmt: skip
    return Svg(ElementTree.tostring(root, encoding="unicode"))


def _show_on_hover(part: ElementTree.Element, text: str) -> None:
    title = ElementTree.Element(f"{SVG_NAMESPACE}title")
    title.text = text.translate(NOT_XML)
    part.insert(0, title)


def _stand_in_a_page(root: ElementTree.Element) -> None:
    """Drop what a page has already or must not have twice: namespaces, fonts, rules, names."""
    for parent in root.iter():
        for sheet in parent.findall(f"{SVG_NAMESPACE}style"):  # for every element of the page
            parent.remove(sheet)
    linked = {
        element.attrib[LINK].removeprefix("#") for element in root.iter(f"{SVG_NAMESPACE}use")
    }
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG_NAMESPACE)
        if LINK in element.attrib:
            element.set("href", element.attrib.pop(LINK))
        if "d" in element.attrib:  # a path; a line break in it would become `&#10;`
            element.set("d", " ".join(element.attrib["d"].split()))
        if "style" in element.attrib:
            rules = element.attrib["style"].split("; ")
            kept = [rule for rule in rules if not rule.startswith("font-family:")]
            element.set("style", "; ".join(kept))
        if element.tag != "clipPath" and element.get("id") not in linked:
            element.attrib.pop("id", None)
