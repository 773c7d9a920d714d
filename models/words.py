"""Where a text has certain words, for settings that name some of a prompt's; no torch."""

from __future__ import annotations

import re
import unicodedata

Span = tuple[int, int]
"""Characters of a text, [start, stop)."""


def listed(words: str) -> list[str]:
    """The words, or phrases of several, of a setting that names them.

    words: with commas between them.
    """
    return [word.strip() for word in words.split(",") if word.strip()]


def places(words: str, text: str) -> list[Span]:
    """Every place of words in a text, whatever their case. A word is found whole: "star" is not in "starfish".

    words: as of `listed`.
    text: in which they are looked for.

    Raises:
        ValueError: when one is not in the text, or there is none.
    """
    wanted = listed(words)
    if not wanted:
        raise ValueError(f"{words!r} names no word")
    return [place for word in wanted for place in _places_of(word, text)]


def _places_of(word: str, text: str) -> list[Span]:
    found = [match.span() for match in re.finditer(_whole(word), text, re.IGNORECASE)]
    if not found:
        raise ValueError(f"the prompt has no {word!r}: {text!r}")
    return found


def _whole(word: str) -> str:
    before = "" if _has_no_spaces(word[0]) else r"(?<!\w)"
    after = "" if _has_no_spaces(word[-1]) else r"(?!\w)"
    return before + re.escape(word) + after


def _has_no_spaces(character: str) -> bool:
    """Whether words of its script stand beside each other without a space: Chinese, Japanese, and Korean endings."""
    return unicodedata.east_asian_width(character) in ("W", "F")
