"""HTML that escapes whatever a name holds and loads nothing: what every page is put together of."""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any


class Html(str):
    """Text that is markup already; any other text is escaped before it enters the page."""


def safe(value: object) -> Html:
    """``value`` escaped, unless it is markup already."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def document(title: str, head: Html, sections: Mapping[str, Html]) -> str:
    """A page; a section that holds nothing is left out."""
    return PAGE.format(
        title=safe(title),
        style=STYLE,
        head=head,
        body="\n".join(f"<h2>{safe(name)}</h2>\n{part}" for name, part in sections.items() if part),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def table(
    rows: Sequence[Mapping[str, object]],
    kinds: Sequence[str],
    *,
    words: Container[str] = (),
    wrapped: Container[str] = (),
) -> Html:
    """The first row names the columns; ``kinds`` are the rows' classes.

    Args:
        words: columns that are no numbers.
        wrapped: those of them that are long.
    """
    if not rows:
        return Html()
    classes = {name: "w" if name in wrapped else "" if name in words else "n" for name in rows[0]}
    head = "".join(f'<th class="{kind}">{safe(name)}</th>' for name, kind in classes.items())
    body = "\n".join(
        f'<tr class="{row_kind}">'
        + "".join(f'<td class="{kind}">{safe(row.get(k, ""))}</td>' for k, kind in classes.items())
        + "</tr>"
        for row, row_kind in zip(rows, kinds, strict=True)
    )
    return scroll(f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>")


def pairs(values: Mapping[str, Any]) -> Html:
    rows = "".join(f"<tr><th>{safe(k)}</th><td>{safe(v)}</td></tr>" for k, v in values.items())
    return scroll(f'<table class="pairs"><tbody>{rows}</tbody></table>') if rows else Html()


def scroll(markup: str) -> Html:
    return Html(f'<div class="scroll">{markup}</div>')


def figure(svg: str, caption: str) -> Html:
    return Html(f"<figure>{scroll(svg)}<figcaption>{safe(caption)}</figcaption></figure>")


PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · brainseg</title>
<style>{style}</style>
</head>
<body>
{head}
{body}
<footer class="note">Written by brainseg on {written}. Not a medical device.</footer>
</body>
</html>
"""
STYLE = """
:root { --ink: #1b1f24; --faint: #5d6571; --line: #e3e6ea; --wash: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem;
  background: #fff; color: var(--ink); font: 16px/1.55 -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif; }
h1 { margin: .2rem 0 1rem; max-width: 50rem; font-size: 2.1rem; line-height: 1.2; }
h2 { margin: 3rem 0 .6rem; font-size: 1.25rem; }
p, figcaption { max-width: 50rem; margin: .5rem 0; }
p, td, dd, figcaption { overflow-wrap: break-word; }
.lead { font-size: 1.2rem; line-height: 1.5; }
.note, figcaption, dt { color: var(--faint); font-size: .875rem; }
.warn { padding: .7rem 1rem; border-left: 4px solid #d55e00; background: #fdf1e7; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr));
  gap: 1.2rem 2rem; margin: 2rem 0 0; padding: 1.2rem 0; border: solid var(--line);
  border-width: 1px 0; font-size: .875rem; }
.facts dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8125rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); vertical-align: bottom; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); }
td { vertical-align: top; white-space: nowrap; }
.n { text-align: right; }
.w, .pairs td { min-width: 9rem; white-space: normal; }
.pairs th { vertical-align: top; white-space: nowrap; }
tbody tr:hover { background: var(--wash); }
.first td { font-weight: 600; }
.faint td { color: var(--faint); }
.quartiles { width: 6.5rem; height: .65rem; }
figure { margin: 1rem 0; }
figure svg { display: block; width: 100%; min-width: 44rem; height: auto; }
svg text { font-family: inherit !important; }
.slices { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.slices figure { margin: 0; }
.slices svg { min-width: 0; fill: none; background: #000; }
.slices path { vector-effect: non-scaling-stroke; }
.key { display: inline-block; width: 1.4em; height: .3em; margin-right: .35em;
  vertical-align: .2em; }
pre { padding: .9rem 1rem; background: var(--wash); font-size: .8125rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { padding: 0; max-width: none; }
  .scroll { overflow: visible; }
  .slices { grid-template-columns: repeat(3, 1fr); }
  h2, p { break-after: avoid; }
  figure, tr, pre { break-inside: avoid; }
}
"""
