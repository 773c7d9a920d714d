"""What the self-contained pages are put together from: the files of `templates/` and one palette."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from string import Template

_TEMPLATES = Path(__file__).parent / "templates"


def part(name: str) -> str:
    """A file of `templates/`."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def style(name: str) -> str:
    """A page's style sheet behind the palette, which all pages share."""
    return part("palette.css") + part(name)


def fill(name: str, **values: str) -> str:
    """A page with its `$places` filled in."""
    return Template(part(name)).substitute(values)


def digest(text: str) -> str:
    """The name of an inline style or script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
