"""What a report prints in a terminal, and the page that it writes."""

from html.parser import HTMLParser
from io import StringIO

from rich.console import Console

from brainseg.records.run import Run
from brainseg.report import page, terminal
from brainseg.report.results import Results

LINKS = ("src", "href", "srcset", "data", "action", "poster")
VOID = {"meta", "br", "image", "use", "path", "rect", "circle"}


def printed(run: Run, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    terminal.print_ranking(Results.load(run), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def written(run: Run) -> str:
    return page.write_report(Results.load(run)).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Fails if a tag closes that is not the one opened last; collects names, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value or "" for key, value in attrs if key.split(":")[-1] in LINKS]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        if tag not in VOID or tag == "image":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID or tag == "image":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
