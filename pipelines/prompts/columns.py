"""What a prompt file may say of a prompt, and the names of its columns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns in the prompt files; "" takes the column of the field's own name where there is one."""

    prompt: str = "prompt"
    prompt_id: str = ""
    """Text or whole numbers; made from the prompt's text where there is no such column."""
    concept: str = ""
    """What the prompt is about, for grouping in reports."""
    rarity: str = ""
    """How rare the concept is, for grouping in reports."""
    counterfactual: str = ""
    """The prompt with its rare attribute replaced by the common one; gives `clip_margin`."""
