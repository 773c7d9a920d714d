"""The constraints of a template, `only` and `not_together`, as sets of numbered values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import did_you_mean
from pipelines.errors import UserError
from pipelines.prompts.templates.combinations import Box
from pipelines.prompts.templates.slots import Value


def boxes(tables: Sequence[Mapping[str, Any]], slots: Mapping[str, Sequence[Value]], at: str) -> list[Box]:
    """The combinations that each table means: those with one of its values in every slot that it names.

    tables: slot -> value, or several, or a table of field -> value, or several.
    slots: name -> values.
    at: name of the setting, for messages.

    Raises:
        UserError: when there is no such value.
    """
    return [
        tuple(
            _fitting(values, table[name], f"{at}: {name}") if name in table else tuple(range(len(values)))
            for name, values in slots.items()
        )
        for table in tables
    ]


def _fitting(values: Sequence[Value], wanted: Any, at: str) -> tuple[int, ...]:
    """The numbers of the values that are meant, by themselves or by their fields."""
    tests = {
        field: _several(texts) for field, texts in (wanted if isinstance(wanted, Mapping) else {"": wanted}).items()
    }
    for field, texts in tests.items():
        there = {value.get(field) for value in values}
        for text in texts:
            if text not in there:
                hint = did_you_mean(text, [one for one in there if one])
                raise UserError(f"{at}: there is no value {field and f'with {field} = '}{text!r}{hint}")
    return tuple(
        number
        for number, value in enumerate(values)
        if all(value.get(field) in texts for field, texts in tests.items())
    )


def _several(wanted: Any) -> set[str]:
    return {str(one) for one in (wanted if isinstance(wanted, list | tuple) else [wanted])}
