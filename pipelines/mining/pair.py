"""An attribute and the object that a caption says has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Pair(NamedTuple):
    """An attribute of an object."""

    kind: str
    """Of the attribute: two of a kind can replace each other."""
    object: str
    """The noun, or nouns, in the singular."""
    attribute: str
    """A word."""


class Parser(Protocol):
    """Reads captions."""

    def pairs(self, captions: Sequence[str]) -> Iterator[Pair]:
        """The pairs that some captions name, each as often as it is named."""
        ...


def one_of_a_kind(object: str, attributes: Iterable[tuple[str, str]]) -> Iterator[Pair]:
    """The pairs of an object's attributes. Of a kind of which it has two ("a red and white fence") none is a pair: it
    is neither.

    object: the noun.
    attributes: (kind, word) of each.
    """
    of_kind: dict[str, set[str]] = {}
    for kind, word in attributes:
        of_kind.setdefault(kind, set()).add(word)
    for kind, words in of_kind.items():
        if len(words) == 1:
            yield Pair(kind, object, *words)
