"""Laws of drawings: well-formed whatever a name holds, and fit to stand beside others in a page."""

import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from brainseg.report.figures.curves import Curve, dice_curves
from brainseg.report.figures.forest import Difference, difference_plot
from brainseg.report.figures.pareto import PricedTrial, dice_against_cost
from tests.support.small_run import HOSTILE

NAMES = [HOSTILE, "\x1b[31m\x00\ufffe", "a\nb\tc", 'x" onload="y', "]]>&amp;", ""]


def texts(svg: str, tag: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(tag)]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_name_holds_the_drawing_is_well_formed(name: str) -> None:
    epochs = pd.DataFrame({"epoch": [1, 2], "dice": [0.4, 0.5]})
    curve = Curve("0001", name, epochs, 2, pd.DataFrame(), colour="#0072B2")
    svg = dice_curves([curve], [])
    shown = re.sub("[\x00-\x08\x0b-\x1f\ufffe]", "\N{REPLACEMENT CHARACTER}", name)
    assert f"0001: {shown}" in texts(svg, "title")
    assert "script" not in {element.tag for element in ElementTree.fromstring(svg).iter()}


def test_a_drawing_leaves_fonts_sizes_and_rules_to_the_page() -> None:
    svg = difference_plot([Difference(name="a", value=0.1, low=0.0, high=0.2)], "mean Dice")
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.attrib["aria-label"] == "Difference in mean Dice"
    assert "viewBox" in root.attrib and not {"width", "height"} & set(root.attrib)
    assert "<style" not in svg and "font-family" not in svg and "xmlns" not in svg


def test_two_drawings_in_one_page_share_no_id() -> None:
    rows = [Difference(name="a", value=0.1, low=0.0, high=0.2)]
    first, second = (difference_plot(rows, measure) for measure in ("Dice", "IoU"))
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]
    for svg, svg_ids in zip((first, second), ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == svg_ids


def test_costs_stand_on_their_axis_as_numbers() -> None:
    trials = [
        PricedTrial(trial=f"{n}", configuration="c", dice=0.5, cost=cost, optimal=True)
        for n, cost in enumerate([1_200.0, 34_000.0, 2_000_000.0])
    ]
    shown = texts(dice_against_cost(trials, "parameters"), "text")
    assert "10,000" in shown and not any("$" in text for text in shown)
