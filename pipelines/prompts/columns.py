"""The columns of prompt files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns in the prompt files; "" takes the column with the field's name where there is one."""

    prompt: str = "prompt"
    """The text."""
    prompt_id: str = ""
    """Text or whole numbers; derived from the prompt's text where there is no such column."""
    concept: str = ""
    """What the prompt is about, for grouping in reports."""
    rarity: str = ""
    """How rare the concept is, for grouping in reports."""
    counterfactual: str = ""
    """The prompt with its rare attribute replaced by a common one; `clip_margin` compares with it."""
