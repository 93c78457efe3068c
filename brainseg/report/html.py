"""The one door to jinja2: a template and plain values become HTML that escapes every text."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brainseg.process import plain
from brainseg.report.figures.style import Svg
from brainseg.report.formatting import duration, number

__all__ = ["Figure", "Markup", "render"]


@dataclass(frozen=True)
class Figure:
    """A drawing and what to look for in it."""

    drawing: Svg
    caption: str

    @property
    def svg(self) -> Markup:
        """The drawing as markup: nothing else enters a page without being escaped."""
        return Markup(self.drawing)


def render(template: str, **values: object) -> Markup:
    """``templates/<template>.html.j2``, filled in; a value that it lacks is an error, not a gap."""
    return Markup(_environment().get_template(f"{template}.html.j2").render(values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("brainseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": _anchor,
        "duration": duration,
        "fixed": _fixed,
        "plain": plain,
        "score": number,
    }
    environment.globals["now"] = lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return environment


def _fixed(value: float, digits: int, *, sign: bool = False) -> str:
    """``value`` to so many decimals, on request with a plus; empty for NaN."""
    return "" if math.isnan(value) else f"{value:{'+' if sign else ''},.{digits}f}"


def _anchor(title: str) -> str:
    """What a link to the section of that title ends in."""
    return "".join(c if c.isalnum() else "-" for c in title.lower())
