"""A text with slots, as in `str.format`: {slot}, {slot.field}, and {{ and }} for braces."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence

Reference = tuple[str, str]
"""(slot, field); the field "" is the value itself."""

_ARTICLE = re.compile(r"\b([Aa])\(n\)")
_ARTICLE_OF = re.compile(_ARTICLE.pattern + r"(?=\s+(\S))")
_SPACES = re.compile(r"\s+")


class Text:
    """A parsed text.

    text: as it is written; white space at its ends and repeated within goes.
    name: of the setting, for messages.

    Raises:
        ValueError: when it cannot be parsed.
    """

    def __init__(self, text: str, name: str) -> None:
        self.pieces: list[str | Reference] = []
        """Literal texts and references, in order."""
        try:
            for literal, reference, spec, conversion in string.Formatter().parse(" ".join(text.split())):
                if literal:
                    self.pieces.append(literal)
                if reference is None:
                    continue
                slot, _, field = reference.partition(".")
                if spec or conversion or not slot.isidentifier() or ("." in reference and not field.isidentifier()):
                    raise ValueError(f"{{{reference}}} is no {{slot}} and no {{slot.field}}")
                self.pieces.append((slot, field))
        except ValueError as error:
            raise ValueError(
                f"{name} = {text!r}: {error}; braces that are to be seen are written {{{{ and }}}}"
            ) from None

    @property
    def references(self) -> list[Reference]:
        """The references, in order."""
        return [piece for piece in self.pieces if not isinstance(piece, str)]

    @property
    def has_article(self) -> bool:
        """Whether it has an a(n)."""
        return any(isinstance(piece, str) and _ARTICLE.search(piece) for piece in self.pieces)

    def filler(self, tidy: bool) -> Callable[[Sequence[str]], str]:
        """What makes the text of the values of `references`, in order.

        tidy: whether a value may be empty, so that spaces may meet.
        """
        form = "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in self.pieces)
        if not self.has_article and not tidy:
            return lambda values: form % tuple(values)
        if not tidy:
            return lambda values: with_articles(form % tuple(values))
        return lambda values: with_articles(_SPACES.sub(" ", form % tuple(values)).strip())


def with_articles(text: str) -> str:
    """`text` with "an" for each a(n) before a vowel's letter, else "a"."""
    return _ARTICLE_OF.sub(lambda match: match[1] + ("n" if match[2] in "aeiouAEIOU" else ""), text)


def articles_apart(literal: str) -> Iterator[Sequence[str]]:
    """The parts of a literal text, each with the words that it may become."""
    for number, part in enumerate(_ARTICLE.split(literal)):
        if part:
            yield (part, f"{part}n") if number % 2 else (part,)
