"""The table [prompts.template]: prompts from one text with slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.errors import meant, require
from pipelines.prompts.templates.text import Text

LABELS = ("concept", "rarity", "counterfactual")
"""The columns that a template fills beside the prompt, each by a text of its own; they are settings of these names."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """Every combination of the slots' values, or a sample of them, put into a text."""

    text: str
    """The prompt, such as "a(n) {colour} {shape}": {slot} is its value, {slot.field} a field of the value, {{ and }}
    are braces, and a(n) is "a" or "an"."""
    slots: dict[str, Any]
    """Name -> values: an array of texts, or of tables with `value`, `weight` and fields of your own; a file of them; or
    a table with `path`, `format`, `encoding` and `columns` as in [prompts]."""
    concept: str = ""
    """A text like `text`; a value that has no such field leaves the column empty. So it is for the two below."""
    rarity: str = ""
    """See `concept`."""
    counterfactual: str = ""
    """See `concept`; a counterfactual that is the prompt itself is left empty."""
    only: tuple[dict[str, Any], ...] = ()
    """Keeps the combinations that fit at least one of these tables of slot -> value, or values, or fields of values."""
    not_together: tuple[dict[str, Any], ...] = ()
    """Leaves out the combinations that fit one of these tables."""
    sample: int = 0
    """How many combinations are drawn, without repeats; 0 takes all of them. A higher number draws further ones."""
    sample_seed: int = 0
    """Which ones are drawn; 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        require(bool(self.slots), "slots", self.slots, "needs one slot or more")
        require(self.sample >= 0, "sample", self.sample, "needs 0 (all) or more")
        require(0 <= self.sample_seed < 2**63, "sample_seed", self.sample_seed, "needs 0 to 2**63 - 1")
        for name in self.slots:
            require(name.isidentifier(), "slots", name, "a name is letters, digits and _")
        for name in ("text", *LABELS):
            for slot, _ in Text(getattr(self, name), name).references:
                self._check_slot(slot, name)
        require(bool(Text(self.text, "text").references), "text", self.text, "needs one {slot} or more")
        for name in ("only", "not_together"):
            for table in getattr(self, name):
                require(bool(table), name, table, "needs one slot or more in each table")
                for slot in table:
                    self._check_slot(slot, name)

    def fields_of(self, slot: str) -> set[str]:
        """The fields of a slot's values that texts and constraints name."""
        texts = (Text(getattr(self, name), name) for name in ("text", *LABELS))
        named = {field for text in texts for of, field in text.references if of == slot}
        tests = [table[slot] for table in (*self.only, *self.not_together) if slot in table]
        return named.union(*(test for test in tests if isinstance(test, dict)))

    def _check_slot(self, slot: str, where: str) -> None:
        if slot not in self.slots:
            raise ValueError(f"{where} names the slot {slot!r}, which is not in slots{meant(slot, self.slots)}")
