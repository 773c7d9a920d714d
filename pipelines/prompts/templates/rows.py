"""The rows of a template, as those of a prompt file: streamed, in an order that never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import did_you_mean
from pipelines.dataset.run_json import PromptFile
from pipelines.errors import UserError
from pipelines.prompts.columns import TEXTS
from pipelines.prompts.config import Prompts
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.templates.combinations import Box, Combinations
from pipelines.prompts.templates.config import LABELS, Template
from pipelines.prompts.templates.distinct import all_different
from pipelines.prompts.templates.permutation import MOST, Permutation
from pipelines.prompts.templates.slots import Value, values_of
from pipelines.prompts.templates.text import Text, articles_apart

_CHUNK = 8192
_MOST_DRAWS = 100
"""Draws for each combination of a weighted sample, on average, after which it is given up."""
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that multiplication by it gives each number another one: hashes for `HashSet`."""


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
        self._slots = {name: values_of(given, prompts, f"{at}.slots.{name}") for name, given in template.slots.items()}
        self._weights = [[value.weight for value in values] for values in self._slots.values()]
        self._weighted = any(weight != 1 for of in self._weights for weight in of)
        if self._weighted and not template.sample:
            raise UserError(f"{at}: weights say what is drawn more often; set sample, or leave them out")
        only, without = (
            [self._box(table, name) for table in getattr(template, name)] for name in ("only", "not_together")
        )
        sizes = [len(values) for values in self._slots.values()]
        self._combinations = Combinations(sizes, only, without)
        self._numbered = self._combinations.numbered(self._weights)
        if not self.count:
            raise UserError(f"{at}: only and not_together leave no combination")
        if self._numbered.count > MOST:
            times = ", each as often as its weights say" if self._weighted else ""
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

    def _column(self, text: Text) -> Callable[[NDArray[np.int64]], list[str | None]]:
        """What makes a column of the values of some combinations."""
        slots = [*self._slots]
        sources = [(slots.index(slot), self._of(slot, field, text)) for slot, field in text.references]
        gaps = any(of is None for _, values in sources for of in values)
        fill = text.filler(tidy=any(of == "" for _, values in sources for of in values))

        def column(values: NDArray[np.int64]) -> list[str | None]:
            cells = [[of[value] for value in values[slot].tolist()] for slot, of in sources]
            if not cells:
                return [fill(())] * values.shape[1]
            if not gaps:
                return [fill(one) for one in zip(*cells, strict=True)]
            return [None if None in one else fill(one) for one in zip(*cells, strict=True)]

        return column

    def _of(self, slot: str, field: str, text: Text) -> list[str | None]:
        values = [value.get(field) for value in self._slots[slot]]
        if all(of is None for of in values):
            known = {name for value in self._slots[slot] for name in value.fields}
            hint = did_you_mean(field, known) or f"; there are: {', '.join(sorted(known)) or 'none'}"
            raise UserError(
                f"{self.at}: {{{slot}.{field}}}: no value of the slot {slot!r} has the field {field!r}{hint}"
            )
        return values

    def _chosen(self) -> Iterator[NDArray[np.int64]]:
        """The values of the combinations that are taken, int64 [slots, combinations], some at a time."""
        total = self._numbered.count
        chosen = self._in_order(total) if not self._template.sample else self._drawn(total)
        left = self.drawn
        for values in chosen:
            yield values[:, :left]
            left -= values.shape[1]
            if left <= 0:
                return

    def _in_order(self, total: int) -> Iterator[NDArray[np.int64]]:
        for start in range(0, total, _CHUNK):
            yield self._numbered.values(np.arange(start, min(start + _CHUNK, total), dtype=np.uint64))

    def _drawn(self, total: int) -> Iterator[NDArray[np.int64]]:
        """In the order of a permutation. A combination that has several numbers is taken at the first one."""
        order, seen = Permutation(total, self._template.sample_seed), HashSet()
        most = _MOST_DRAWS * max(self.drawn, _CHUNK)
        for start in range(0, min(total, most), _CHUNK):
            numbers = order(np.arange(start, min(start + _CHUNK, total), dtype=np.uint64))
            values = self._numbered.values(numbers)
            yield values[:, [*self._first_seen(values, seen)]] if self._weighted else values
        if total > most:
            raise UserError(
                f"{self.at}: after {most:,} draws there are still not {self.drawn:,} different combinations: what has "
                "a large weight comes again and again. Set a smaller sample, or weights that differ less"
            )

    def _first_seen(self, values: NDArray[np.int64], seen: HashSet) -> Iterator[int]:
        number = np.zeros(values.shape[1], np.uint64)
        for of, each in zip(values, self._weights, strict=True):
            number = number * np.uint64(len(each)) + of.astype(np.uint64)
        for place, one in enumerate((number * np.uint64(_SPREAD)).tolist()):
            if one not in seen:
                seen.add(one)
                yield place

    def _box(self, table: Mapping[str, Any], name: str) -> Box:
        return tuple(
            self._fitting(slot, table[slot], f"{self.at}.{name}: {slot}")
            if slot in table
            else tuple(range(len(values)))
            for slot, values in self._slots.items()
        )

    def _fitting(self, slot: str, wanted: Any, at: str) -> tuple[int, ...]:
        """The numbers of the values that a constraint means: by themselves, or by their fields."""
        values = self._slots[slot]
        tests = wanted.items() if isinstance(wanted, Mapping) else [("", wanted)]
        for field, texts in tests:
            there = {value.get(field) for value in values}
            for text in _several(texts):
                if text not in there:
                    known = [one for one in there if one]
                    raise UserError(
                        f"{at}: there is no value {field and f'with {field} = '}{text!r}{did_you_mean(text, known)}"
                    )
        return tuple(
            number
            for number, value in enumerate(values)
            if all(value.get(field) in _several(texts) for field, texts in tests)
        )


def _several(wanted: Any) -> list[str]:
    return [str(one) for one in (wanted if isinstance(wanted, list | tuple) else [wanted])]


def _repeated(values: Sequence[Value]) -> bool:
    return len({value.text for value in values}) < len(values)


def _without_itself(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose counterfactual, where it is the prompt itself, is left out."""
    counterfactual = TEXTS.index("counterfactual")
    return row if row[counterfactual] != row[0] else (*row[:counterfactual], None, *row[counterfactual + 1 :])
