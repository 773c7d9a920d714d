"""The counterfactual of a prompt that was written for another one, whose counterfactual is known."""

from __future__ import annotations

import re


def carried_over(text: str, prompt: str, counterfactual: str | None) -> str | None:
    """`text` with the words in which prompt and counterfactual differ replaced, and the word beside them as it is. None
    where these words do not stand in it exactly once, so that nobody knows what to replace.

    text: the prompt that was written.
    prompt: the one that it was written for.
    counterfactual: of that one.
    """
    if counterfactual is None:
        return None
    rare, common = prompt.split(), counterfactual.split()
    start = next((n for n, (a, b) in enumerate(zip(rare, common, strict=False)) if a != b), min(len(rare), len(common)))
    most = min(len(rare), len(common)) - start
    end = next((n for n in range(most) if rare[-1 - n] != common[-1 - n]), most)
    if not rare[start : len(rare) - end]:
        return None  # the counterfactual has words that the prompt lacks: there is no place for them
    if end:
        end -= 1
    elif start:
        start -= 1
    words, instead = (" ".join(of[start : len(of) - end]) for of in (rare, common))
    found = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
    if len(found.findall(text)) != 1:
        return None
    return found.sub(lambda match: _begun_like(instead, match[0]), text)


def _begun_like(text: str, other: str) -> str:
    """`text` with a capital at its beginning where `other` has one."""
    return text[:1].upper() + text[1:] if other[:1].isupper() else text
