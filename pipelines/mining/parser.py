"""The parsers of captions by name."""

from __future__ import annotations

from pipelines.errors import UserError
from pipelines.mining.grammar import Grammar
from pipelines.mining.lexicon import Lexicon
from pipelines.mining.pair import Parser
from pipelines.mining.spacy_parser import SpacyParser

GRAMMAR = "grammar"
_SPACY = "spacy:"


def open_parser(name: str, lexicon: Lexicon) -> Parser:
    """A parser.

    name: "grammar", or "spacy:" and the name or the folder of a spaCy pipeline.
    lexicon: the kinds of attributes.

    Raises:
        UserError: when there is none of this name, or a package or pipeline is not installed.
    """
    if name == GRAMMAR:
        return Grammar(lexicon)
    if name.startswith(_SPACY):
        return SpacyParser.load(name.removeprefix(_SPACY), lexicon)
    raise UserError(
        f"--parser {name!r}: needs {GRAMMAR!r}, or {_SPACY + 'NAME'!r} with a pipeline such as en_core_web_sm"
    )
