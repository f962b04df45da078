"""How Data Docs look here: Great Expectations' content in pages that need nothing from elsewhere.

Its own templates load styles, scripts and a logo from seven servers, and list the days by script:
offline they are bare, and online they tell others when a page is read.
"""

from pathlib import Path
from typing import Any

from great_expectations.render.components import RenderedDocumentContent
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import FileSystemLoader

KIND = ": "
"""Stands between a check and its subject in the name of what is judged."""

Row = tuple[bool, str, str]
"""Whether a check passed, its expectation and the value observed."""


class _View(DefaultJinjaPageView):
    """A page made of templates of this folder."""

    def __init__(self, **directories: Any) -> None:
        super().__init__(**directories)
        self.env.loader = FileSystemLoader(Path(__file__).parent / "pages")


class DayView(_View):
    """The page of one day: its checks by kind, those that failed first."""

    _template = "day.html.j2"

    def render(
        self, document: RenderedDocumentContent, template: str | None = None, **kwargs: Any
    ) -> str:
        """Return the page, with one table a kind in place of one section a check."""
        content: dict[str, Any] = document.to_json_dict()
        kinds = kinds_of(content["sections"])
        return str(super().render(document, template, kinds=kinds, **kwargs))  # type: ignore[no-untyped-call]


class IndexView(_View):
    """The list of days, the newest first."""

    _template = "days.html.j2"


def kinds_of(sections: list[dict[str, Any]]) -> list[tuple[str, list[Row]]]:
    """Return the checks in ``sections`` by kind: first what failed, of that first what stops."""
    found: dict[str, list[Row]] = {}
    for section in sections:
        kind, between, _ = section["section_name"].partition(KIND)
        tables = [block for block in section["content_blocks"] if "table" in block]
        if between:
            found.setdefault(kind, []).extend(_row(*row) for row in tables[0]["table"])
    kinds = [(kind, sorted(rows)) for kind, rows in found.items()]
    return sorted(kinds, key=lambda kind: (kind[1][0][0], "warns" in kind[0], kind[0]))


def _row(status: dict[str, Any], expectation: dict[str, Any], observed: object) -> Row:
    passed = "text-success" in str(status)
    return passed, str(expectation["string_template"]["template"]), str(observed)
