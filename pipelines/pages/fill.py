"""What the self-contained pages are put together from: the templates of their room and one palette."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from string import Template

PALETTE = (Path(__file__).parent / "palette.css").read_text(encoding="utf-8")
"""The colours that all pages share."""


class Templates:
    """The files in `templates/` beside the module whose `__file__` is given."""

    def __init__(self, module_file: str) -> None:
        self._folder = Path(module_file).parent / "templates"

    def part(self, name: str) -> str:
        """A file as it is."""
        return (self._folder / name).read_text(encoding="utf-8")

    def style(self, name: str) -> str:
        """A page's style sheet behind the palette."""
        return PALETTE + self.part(name)

    def fill(self, name: str, **values: str) -> str:
        """A page with its `$places` filled in."""
        return Template(self.part(name)).substitute(values)


def digest(text: str) -> str:
    """The name of an inline style or script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
