"""Prompts of templates."""

from __future__ import annotations

from typing import Any

from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.config import Prompts
from pipelines.prompts.rows import PromptRow
from pipelines.prompts.templates.config import Template

COLOURS = [{"value": "purple", "rarity": "rare", "frequent": "red"}, "orange", "red"]
SHAPES = ["star", "ring", "heart"]


def rows_of(text: str, prompts: dict[str, Any] | None = None, **table: Any) -> list[Any]:
    return [*prompt_reading.read(Prompts(template=Template(text=text, **table), **(prompts or {})))]


def texts(text: str, **table: Any) -> list[str]:
    found = rows_of(text, **table)
    assert all(isinstance(row, PromptRow) for row in found), found
    return [row.prompt for row in found]
