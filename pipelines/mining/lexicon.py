"""The words by which captions are read: attributes of some kinds, and the small words of a language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from models.errors import require
from pipelines.config import toml

ENGLISH = Path(__file__).with_name("lexicon.toml")


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """A TOML file; `ENGLISH` is one."""

    attributes: dict[str, Any]
    """Kind -> its words. An attribute is replaced by another one of its kind."""
    determiners: tuple[str, ...]
    """Words that begin the description of a single thing."""
    boundaries: tuple[str, ...] = ()
    """Words that end it, as punctuation does."""
    joiners: tuple[str, ...] = ()
    """Words and signs between attributes."""
    also_objects: tuple[str, ...] = ()
    """Attributes that are nouns as well: "a square table", "a red square"."""
    not_objects: tuple[str, ...] = ()
    """Nouns that name nothing to be seen."""

    def __post_init__(self) -> None:
        kinds: dict[str, str] = {}
        for kind, words in self.attributes.items():
            good = isinstance(words, list) and all(isinstance(word, str) for word in words)
            require(good and bool(words), f"attributes.{kind}", words, "needs an array of words")
            for word in words:
                require(word not in kinds, f"attributes.{kind}", word, f"it is of the kind {kinds.get(word)} already")
                kinds[word] = kind
        require(bool(kinds), "attributes", self.attributes, "needs one kind or more")
        require(bool(self.determiners), "determiners", self.determiners, "needs one word or more")

    @cached_property
    def kind_of(self) -> Mapping[str, str]:
        """Attribute -> its kind."""
        return {word: kind for kind, words in self.attributes.items() for word in words}


def read(path: str | Path = ENGLISH) -> Lexicon:
    """The lexicon in a file.

    Raises:
        UserError: when it is none.
    """
    return toml.build(Lexicon, toml.read(path), file=str(path))
