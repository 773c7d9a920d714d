"""Reads captions with a pipeline of spaCy, which knows adjectives that no lexicon has, and nouns in the plural."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.errors import UserError
from pipelines.mining.lexicon import Lexicon
from pipelines.mining.pair import Pair, one_of_a_kind

OTHER = "other"
"""Kind of the attributes that the lexicon does not have."""


class SpacyParser:
    """A `Parser`.

    pipeline: a spaCy pipeline that finds dependencies and lemmas.
    lexicon: the kinds of attributes.
    """

    def __init__(self, pipeline: Any, lexicon: Lexicon) -> None:
        self._pipeline = pipeline
        self._kind_of = lexicon.kind_of
        self._no_objects = frozenset(lexicon.not_objects)

    @classmethod
    def load(cls, name: str, lexicon: Lexicon) -> SpacyParser:
        """With an installed pipeline, or one in a folder.

        name: its name, such as en_core_web_sm, or its folder.
        lexicon: see the class.

        Raises:
            UserError: when spaCy or the pipeline is not installed.
        """
        try:
            import spacy
        except ImportError:
            raise UserError(f"--parser spacy:{name}: pip install spacy (on every node of a cluster)") from None
        try:
            pipeline = spacy.load(name, exclude=["ner"])
        except OSError as error:
            raise UserError(f"--parser spacy:{name}: {error} To install it: python -m spacy download {name}") from error
        if "parser" not in pipeline.pipe_names:
            raise UserError(f"--parser spacy:{name}: the pipeline has no dependency parser ({pipeline.pipe_names})")
        return cls(pipeline, lexicon)

    def pairs(self, captions: Sequence[str]) -> Iterator[Pair]:
        """See `Parser.pairs`."""
        for caption in self._pipeline.pipe(captions):
            for noun in caption:
                if noun.pos_ == "NOUN" and noun.lemma_.lower() not in self._no_objects:
                    yield from self._of(noun)

    def _of(self, noun: Any) -> Iterator[Pair]:
        parts = [
            word.text.lower()
            for word in noun.lefts
            if word.dep_ == "compound" and word.text.lower() not in self._kind_of
        ]
        describing = [
            word.text.lower()
            for of in noun.lefts
            for word in (of, *of.conjuncts)
            if of.dep_ == "amod" or (of.dep_ == "compound" and of.text.lower() in self._kind_of)
        ]
        attributes = [(self._kind_of.get(word, OTHER), word) for word in describing]
        yield from one_of_a_kind(" ".join([*parts, noun.lemma_.lower()]), attributes)
