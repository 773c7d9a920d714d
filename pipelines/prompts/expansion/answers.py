"""The texts in what a language model answers, which is seldom only what it was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from models.chat import NoAnswer

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^\s*```.*$", re.MULTILINE)
_MARK = re.compile(r"^(?:\(?\d+[.):]|[-*•–])\s+")
_REFUSAL = re.compile(r"(?:i['’]?m sorry|sorry|i can(?:no|['’])t|i am unable|i['’]?m unable|as an ai)\b", re.IGNORECASE)
_MOST_BEGINNINGS = 100
"""Brackets of an answer at which JSON may begin."""
_QUOTES = "\"“”'‘’"


def texts_in(content: Any, prompt: str, count: int) -> list[str]:
    """At most `count` different texts.

    content: of the message.
    prompt: the one that they are for; it is none of them.
    count: how many were asked for.

    Raises:
        NoAnswer: when there is none.
    """
    if not isinstance(content, str) or not (text := _FENCE.sub("", _THOUGHTS.sub("", content)).strip()):
        raise NoAnswer("the answer is empty")
    found: dict[str, str] = {}
    for one in _in_json(text) or _in_lines(text):
        found.setdefault(" ".join(one.split()).casefold(), " ".join(one.split()))
    found.pop("", None)
    found.pop(prompt.casefold(), None)
    if not found:
        raise NoAnswer(f"the answer has no text of its own: {text[:200]!r}")
    if all(map(_REFUSAL.match, found.values())):
        raise NoAnswer(f"the model refuses: {text[:200]!r}")
    return [*found.values()][:count]


def _in_json(text: str) -> list[str] | None:
    """The texts of the first JSON array in a text, or of one within the first object; None where there is none."""
    for match in islice(re.finditer(r"[\[{]", text), _MOST_BEGINNINGS):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if texts := [*_texts(value)]:
            return texts
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if lists else [*value.values()]
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            item = next((of for of in item.values() if isinstance(of, str)), None)
        if isinstance(item, str):
            yield item


def _in_lines(text: str) -> Iterator[str]:
    """A text in each line, without numbers, bullets and quotes; lines that lead in or are headings are none."""
    for line in map(str.strip, text.splitlines()):
        bare = _MARK.sub("", line).strip(" ,").replace("**", "").strip(_QUOTES)
        if not line.endswith(":") and not line.startswith("#") and any(map(str.isalpha, bare)):
            yield bare
