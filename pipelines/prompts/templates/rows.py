"""The rows of a template, as those of a prompt file: streamed, in an order that never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from models.errors import meant
from pipelines.dataset.run_json import PromptFile
from pipelines.errors import UserError
from pipelines.prompts.columns import TEXTS
from pipelines.prompts.config import Prompts
from pipelines.prompts.templates.combinations import Combinations
from pipelines.prompts.templates.config import LABELS, Template
from pipelines.prompts.templates.constraints import boxes
from pipelines.prompts.templates.distinct import all_different
from pipelines.prompts.templates.draw import Values, drawn, in_order
from pipelines.prompts.templates.permutation import MOST
from pipelines.prompts.templates.slots import Value, values_of
from pipelines.prompts.templates.text import Text, articles_apart


def templates(prompts: Prompts) -> list[Filled]:
    """The templates of a run with the values of their slots.

    Raises:
        UserError: when a file of values cannot be read, or a constraint names a value that there is not.
    """
    several = isinstance(prompts.template, tuple)
    places = [
        f"prompts.template[{number}]" if several else "prompts.template" for number in range(len(prompts.templates))
    ]
    return [Filled(one, prompts, at) for one, at in zip(prompts.templates, places, strict=True)]


class Filled:
    """A template with the values of its slots.

    template: the settings.
    prompts: the table that it stands in.
    at: name of the template, for messages and as the source of its rows.
    """

    def __init__(self, template: Template, prompts: Prompts, at: str) -> None:
        self.at = at
        self._template = template
        self._slots = {
            name: values_of(given, prompts, f"{at}.slots.{name}", template.fields_of(name))
            for name, given in template.slots.items()
        }
        self._weights = [[value.weight for value in values] for values in self._slots.values()]
        weighted = any(weight != 1 for of in self._weights for weight in of)
        if weighted and not template.sample:
            raise UserError(f"{at}: weights say what is drawn more often; set sample, or leave them out")
        only, without = (
            boxes(getattr(template, name), self._slots, f"{at}.{name}") for name in ("only", "not_together")
        )
        sizes = [len(values) for values in self._slots.values()]
        self._combinations = Combinations(sizes, only, without)
        self._numbered = self._combinations.numbered(self._weights)
        if not self.count:
            raise UserError(f"{at}: only and not_together leave no combination")
        if self._numbered.count > MOST:
            times = ", each as often as its weights say" if weighted else ""
            raise UserError(
                f"{at}: there are {self._numbered.count:.1e} combinations{times}; at most 2**62 can be numbered. Make "
                "it two templates, or give it fewer values"
            )

    @property
    def count(self) -> int:
        """How many combinations the constraints leave."""
        return self._combinations.count

    @property
    def drawn(self) -> int:
        """How many of them are taken."""
        return min(self._template.sample or self.count, self.count)

    def __str__(self) -> str:
        sizes = " x ".join(f"{len(values):,} {name}" for name, values in self._slots.items())
        sample = f", {self.drawn:,} of them drawn" if self._template.sample else ""
        return f"{sizes}: {self.count:,} combinations{sample}"

    def digest(self) -> PromptFile:
        """Size and hash of all that its rows follow from, as of a file."""
        values = {name: [asdict(value) for value in of] for name, of in self._slots.items()}
        content = json.dumps({**asdict(self._template), "slots": values}, sort_keys=True).encode()
        return PromptFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    @cached_property
    def all_different(self) -> bool:
        """Whether no two of its prompts are equal; False where it would take remembering them to know."""
        text = Text(self._template.text, "text")
        shown = {slot for slot, field in text.references if not field}
        if any(len(of) > 1 and (slot not in shown or _repeated(of)) for slot, of in self._slots.items()):
            return False
        pieces: list[Sequence[str]] = []
        for piece in text.pieces:
            if isinstance(piece, str):
                pieces += articles_apart(piece)
            else:
                pieces.append([value.get(piece[1]) or "" for value in self._slots[piece[0]]])
        return all_different(pieces)

    def rows(self) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """Its rows, numbered from 1."""
        texts = {"prompt": self._template.text, **{name: getattr(self._template, name) for name in LABELS}}
        fillers = {name: self._column(Text(text, name)) for name, text in texts.items() if text}
        number = 0
        for values in self._chosen():
            columns = {name: fill(values) for name, fill in fillers.items()}
            nothing = [None] * values.shape[1]
            for row in zip(*(columns.get(name, nothing) for name in TEXTS), strict=True):
                number += 1
                yield number, _without_itself(row)

    def _column(self, text: Text) -> Callable[[Values], list[str | None]]:
        """What makes a column of the values of some combinations."""
        slots = [*self._slots]
        sources = [(slots.index(slot), self._of(slot, field)) for slot, field in text.references]
        gaps = any(of is None for _, values in sources for of in values)
        fill = text.filler(tidy=any(of == "" for _, values in sources for of in values))

        def column(values: Values) -> list[str | None]:
            cells = [[of[value] for value in values[slot].tolist()] for slot, of in sources]
            if not cells:
                return [fill(())] * values.shape[1]
            if not gaps:
                return [fill(one) for one in zip(*cells, strict=True)]
            return [None if None in one else fill(one) for one in zip(*cells, strict=True)]

        return column

    def _of(self, slot: str, field: str) -> list[str | None]:
        values = [value.get(field) for value in self._slots[slot]]
        if all(of is None for of in values):
            known = {name for value in self._slots[slot] for name in value.fields}
            hint = meant(field, sorted(known))
            raise UserError(
                f"{self.at}: {{{slot}.{field}}}: no value of the slot {slot!r} has the field {field!r}{hint}"
            )
        return values

    def _chosen(self) -> Iterator[Values]:
        template = self._template
        if not template.sample:
            return in_order(self._numbered)
        return drawn(self._numbered, self._weights, self.drawn, template.sample_seed, self.at)


def _repeated(values: Sequence[Value]) -> bool:
    return len({value.text for value in values}) < len(values)


def _without_itself(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose counterfactual, where it is the prompt itself, is left out."""
    counterfactual = TEXTS.index("counterfactual")
    return row if row[counterfactual] != row[0] else (*row[:counterfactual], None, *row[counterfactual + 1 :])
