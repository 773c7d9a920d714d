"""Whether the texts of a template are all different, worked out from its parts: then nobody has to remember them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from pipelines.prompts.text import IGNORABLE, normal

_MOST_STEPS = 200_000
_LAST = "\U0010ffff"


def all_different(pieces: Sequence[Sequence[str]]) -> bool:
    """Whether no text can be put together from one string of each piece in two ways. False where that is not clear, as
    where a string is empty.

    It follows two ways to write a text from where they part, as far as one of them is ahead of the other by a known
    rest (the method of Sardinas and Patterson, for a fixed number of pieces).

    pieces: each with its strings, in order.
    """
    options = [sorted({*piece}) for piece in pieces]
    known = [frozenset(of) for of in options]
    if not all(text and _stable(text) for of in options for text in of):
        return False
    waiting = {(at + 1, at + 1, rest) for at, of in enumerate(options) for rest in _rests(of, known[at])}
    seen = set(waiting)
    while waiting:
        ahead, behind, rest = waiting.pop()
        if not rest and ahead == behind:
            return False
        if not rest and ahead < behind:
            ahead, behind = behind, ahead
        if behind == len(options):
            continue
        for step in _steps(ahead, behind, rest, options[behind], known[behind]):
            if step not in seen:
                seen.add(step)
                waiting.add(step)
        if len(seen) > _MOST_STEPS:
            return False
    return True


def _rests(options: Sequence[str], known: frozenset[str]) -> Iterator[str]:
    """What one string has more than another that it begins with."""
    for text in options:
        for length in range(len(text)):
            if text[:length] in known:
                yield text[length:]


def _steps(
    ahead: int, behind: int, rest: str, options: Sequence[str], known: frozenset[str]
) -> Iterator[tuple[int, int, str]]:
    """Where the two ways are when the one behind has taken each of its next strings that fits."""
    for length in range(len(rest) + 1):
        if rest[:length] in known:
            yield ahead, behind + 1, rest[length:]
    for text in options[bisect_left(options, rest) : bisect_left(options, rest + _LAST)]:
        if len(text) > len(rest):
            yield behind + 1, ahead, text[len(rest) :]


def _stable(text: str) -> bool:
    """Whether a text stays as it is when others are put before and after it and all gets its normal form."""
    joins = unicodedata.category(text[0]).startswith("M") or "\u1100" <= text[0] <= "\u11ff"
    return not joins and not IGNORABLE.search(text) and not normal(f"x{text}x").changes
