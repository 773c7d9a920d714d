"""Questions about a picture, made from its prompt: the whole of it, and its parts one by one."""

from __future__ import annotations

import re

QUESTION = 'Does this image show "{prompt}"? Please answer yes or no.'
"""The form of VQAScore (arXiv 2404.01291)."""

_PLACE = "{prompt}"
_JOINTS = (
    "next to|in front of|on top of|to the left of|to the right of|left of|right of|in the style of|"
    "and|with|without|on|in|at|under|above|below|behind|beside|near|over|inside|among|between|against|wearing|holding"
)
_BREAK = re.compile(rf"[,;:.]+(?!\S)|(?<!\S)(?:{_JOINTS})(?!\S)", re.IGNORECASE)
_NOTHING = re.compile(r"(?:the|a|an|it|its|their)?", re.IGNORECASE)


def check(question: str) -> None:
    """Check a question of the user's own.

    question: the text, with {prompt} where the prompt or its part stands.

    Raises:
        ValueError: when it has no such place.
    """
    if _PLACE not in question:
        raise ValueError(f"{question!r} needs {_PLACE}, where the prompt or a part of it stands")


def about(text: str, question: str) -> str:
    """A question about a text. question: as for `check`."""
    return question.replace(_PLACE, text)


def parts_of(prompt: str) -> list[str]:
    """What a prompt names, piece by piece: it is cut at commas, at "and" and at prepositions. Empty where that gives
    nothing but the prompt."""
    pieces = [piece.strip(" \"'") for piece in _BREAK.split(prompt)]
    pieces = [*dict.fromkeys(piece for piece in pieces if not _NOTHING.fullmatch(piece))]
    return pieces if len(pieces) > 1 else []
