"""Prompts from counts: pairs that are rare among the attributes of their object, with the frequent one beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.errors import require
from pipelines.mining.counts import Counts
from pipelines.prompts.templates.text import Text

RARITIES = ("common", "uncommon", "rare", "unseen")

_FIELDS: list[pa.Field[Any]] = [
    pa.field("prompt", pa.string()),
    pa.field("concept", pa.string()),
    pa.field("rarity", pa.string()),
    pa.field("counterfactual", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("attribute", pa.string()),
    pa.field("object", pa.string()),
    pa.field("usual", pa.string()),
    pa.field("count", pa.int64()),
    pa.field("object_count", pa.int64()),
    pa.field("share", pa.float64()),
]
SCHEMA = pa.schema(_FIELDS)
"""The columns of what is mined: those of a prompt file, then what they rest on."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which pairs become prompts."""

    rarities: tuple[str, ...] = ("rare", "unseen")
    """Some of `RARITIES`."""
    kinds: tuple[str, ...] = ()
    """Kinds of attributes; () takes all."""
    text: str = "a(n) {attribute} {object}"
    """The prompt; the counterfactual is the same text with the object's most frequent attribute of the kind."""
    common_at_least: float = 0.10
    """Least share of an object's mentions with an attribute of the kind from which one is common."""
    rare_below: float = 0.02
    """Share below which it is rare; between the two it is uncommon."""
    object_mentions: int = 100
    """Mentions with an attribute of the kind that an object needs: of fewer nobody can say what is rare."""
    pair_mentions: int = 1
    """Mentions that a pair needs: pairs with fewer, but not none, are left out as mistakes of captions."""

    def __post_init__(self) -> None:
        for name in ("rare_below", "common_at_least"):
            require(0 < getattr(self, name) < 1, name, getattr(self, name), "needs more than 0, less than 1")
        require(self.rare_below <= self.common_at_least, "rare_below", self.rare_below, "needs common_at_least or less")
        for name in ("object_mentions", "pair_mentions"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "needs 1 or more")
        known = {("attribute", ""), ("object", "")}
        require(
            {*Text(self.text, "text").references} <= known, "text", self.text, "knows {attribute} and {object} only"
        )

    def rarity(self, share: float) -> str:
        """One of `RARITIES`.

        share: of the object's mentions with an attribute of the kind.
        """
        if share >= self.common_at_least:
            return "common"
        if share >= self.rare_below:
            return "uncommon"
        return "rare" if share > 0 else "unseen"


def rows(counts: Counts, choice: Choice) -> Iterator[dict[str, Any]]:
    """Rows of `SCHEMA`, by kind and object, the rarest attribute first.

    counts: of the corpus.
    choice: the settings.
    """
    objects = [of for of in counts.of_objects() if not choice.kinds or of[0] in choice.kinds]
    attributes: dict[str, set[str]] = {}
    for kind, _, found in objects:
        attributes.setdefault(kind, set()).update(found)
    for kind, object, found in objects:
        total = sum(found.values())
        if total < choice.object_mentions:
            continue
        usual = min(found, key=lambda attribute: (-found[attribute], attribute))
        for attribute in sorted(attributes[kind], key=lambda attribute: (found.get(attribute, 0), attribute)):
            count = found.get(attribute, 0)
            rarity = choice.rarity(count / total)
            if rarity in choice.rarities and not 0 < count < choice.pair_mentions:
                yield {
                    "prompt": _text(choice, attribute, object),
                    "concept": f"{attribute} {object}",
                    "rarity": rarity,
                    "counterfactual": _text(choice, usual, object) if attribute != usual else None,
                    "kind": kind,
                    "attribute": attribute,
                    "object": object,
                    "usual": usual,
                    "count": count,
                    "object_count": total,
                    "share": count / total,
                }


def _text(choice: Choice, attribute: str, object: str) -> str:
    text = Text(choice.text, "text")
    words = {"attribute": attribute, "object": object}
    return text.filler(tidy=False)([words[slot] for slot, _ in text.references])
