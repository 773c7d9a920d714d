"""Reads captions by a small grammar: determiner, words, attributes, noun, and then a word that ends the description.

It needs no data but a lexicon, and is made for a corpus that is large: it would rather miss a pair than invent one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipelines.mining.lexicon import Lexicon
from pipelines.mining.pair import Pair, one_of_a_kind

_TOKEN = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*|[^\s\w]|\w+")
_MOST_NOUNS = 3


class Grammar:
    """A `Parser`.

    lexicon: its words.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._kind_of = lexicon.kind_of
        self._begin = frozenset(lexicon.determiners)
        self._end = frozenset(lexicon.boundaries)
        self._join = frozenset(lexicon.joiners)
        self._objects = frozenset(lexicon.also_objects)
        self._no_objects = frozenset(lexicon.not_objects)

    def pairs(self, captions: Sequence[str]) -> Iterator[Pair]:
        """See `Parser.pairs`."""
        for caption in captions:
            words = _TOKEN.findall(caption.lower())
            for at, word in enumerate(words):
                if word in self._begin:
                    yield from self._described(words, at + 1)

    def _described(self, words: Sequence[str], at: int) -> Iterator[Pair]:
        """The pairs of the description that begins at a word."""
        attributes: list[tuple[str, str]] = []
        nouns: list[str] = []
        joined = False
        for here in range(at, len(words)):
            word = words[here]
            if kind := self._kind_of.get(word):
                attributes.append((kind, word))
                nouns.clear()  # what came before described the thing as well
                joined = words[here - 1] in self._join
            elif word in self._join and words[here - 1] in self._kind_of and self._kind_of.get(_at(words, here + 1)):
                continue
            elif word in self._end or not word[0].isalpha() or (nouns and attributes and _is_verb(word)):
                break
            else:
                nouns.append(word)
        if attributes and not nouns and not joined and attributes[-1][1] in self._objects:
            nouns.append(attributes.pop()[1])
        if attributes and 0 < len(nouns) <= _MOST_NOUNS and nouns[-1] not in self._no_objects:
            yield from one_of_a_kind(" ".join(nouns), attributes)


def _at(words: Sequence[str], place: int) -> str:
    return words[place] if place < len(words) else ""


def _is_verb(word: str) -> bool:
    """Whether a word after a noun in the singular looks like a verb: "a black dog running", "a white cat sits"."""
    return word.endswith(("ing", "ed")) or (word.endswith("s") and not word.endswith(("ss", "us", "is")))
