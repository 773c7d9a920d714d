"""Fills the templates of the self-contained pages, which share one palette."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template

PALETTE = (Path(__file__).parent / "palette.css").read_text(encoding="utf-8")
"""The colours that all pages share."""

_REPORT_STYLE = PALETTE + (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
_REPORT = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))


class Templates:
    """The files in `templates/` beside a module.

    module_file: `__file__` of the module.
    """

    def __init__(self, module_file: str) -> None:
        self._folder = Path(module_file).parent / "templates"

    def part(self, name: str) -> str:
        """The text of a file."""
        return (self._folder / name).read_text(encoding="utf-8")

    def style(self, name: str) -> str:
        """The palette, followed by a page's style sheet."""
        return PALETTE + self.part(name)

    def fill(self, name: str, **values: str) -> str:
        """A page with its placeholders (`$name`) replaced by values."""
        return Template(self.part(name)).substitute(values)


def report_page(title: str, body: str) -> str:
    """A page that compares settings with tables, curves and rows of pictures.

    title: plain text.
    body: HTML of what comes below the title.
    """
    return _REPORT.substitute(title=escape(title), style=_REPORT_STYLE, body=body)


def inline_png(png: bytes) -> str:
    """A picture as the source of an `<img>`, inside of the page.

    png: content of its file.
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def digest(text: str) -> str:
    """The source expression of an inline style or script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
