"""Pieces of Markdown: tables, and texts in which no markup works."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    head: headings of the columns.
    rows: cells of each row.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def code(text: str) -> str:
    """A text as a code span on one line, in which no markup works; it may be in a table."""
    flat = " ".join(text.replace("`", "'").replace("|", "/").split())
    return f"`{flat}`"


def escaped(text: str) -> str:
    """A text that is HTML to no reader and ends no cell of a table."""
    return escape(text, quote=False).replace("|", "&#124;")
