"""Answers for a stream of prompts, in its order: each is asked once in the life of an output folder.

An answer is a file in `answers/`, named by a hash of its request, and written before anything is made of it.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from models.chat import FAILED
from pipelines.dataset import records
from pipelines.dataset.failures import Failure
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts.expansion.config import Expand
from pipelines.prompts.expansion.endpoint import Endpoint

FOLDER = "answers"
_AHEAD = 1024
"""Prompts that are read before the answers of the first are given. It decides which of two equal texts is the first, so
it is the same whatever the concurrency."""
_MOST_IN_A_ROW = 20
"""Prompts for which the endpoint may fail, each in all tries, before the job ends."""
_ADVICE = "Remove the file, and it is asked again."
T = TypeVar("T")
Answers = list[str] | Failure


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The content of a file in `answers/`."""

    model: str
    """Name of the language model."""
    prompt: str
    """The prompt that it was given."""
    answers: tuple[str, ...]
    """The prompts that it wrote."""


def answered(rows: Iterable[tuple[T, str | None]], expand: Expand, output: Storage) -> Iterator[tuple[T, Answers]]:
    """Each row with the answers for its prompt; none for a row without one.

    rows: (row, prompt or None).
    expand: the settings.
    output: the output folder, which keeps the answers.

    Raises:
        UserError: as `Endpoint.texts`, and when a kept answer is damaged.
    """
    ahead: deque[tuple[T, Future[Answers]]] = deque()
    under_way: WeakValueDictionary[str | None, Future[Answers]] = WeakValueDictionary()
    outages = _Outages(expand)
    with Endpoint(expand) as endpoint, ThreadPoolExecutor(expand.concurrency) as pool:
        try:
            for row, prompt in rows:
                asked = under_way.get(prompt) or pool.submit(_answers, prompt, expand, output, endpoint)
                under_way[prompt] = asked  # several rows of one text, with settings of their own, are asked for once
                ahead.append((row, asked))
                if len(ahead) > _AHEAD:
                    yield outages.passed(ahead.popleft())
            while ahead:
                yield outages.passed(ahead.popleft())
        finally:
            endpoint.stop()  # what is under way is still answered, and kept
            pool.shutdown(wait=True, cancel_futures=True)


class _Outages:
    """Counts the prompts in a row for which the endpoint failed."""

    def __init__(self, expand: Expand) -> None:
        self._expand = expand
        self._in_a_row = 0

    def passed(self, asked: tuple[T, Future[Answers]]) -> tuple[T, Answers]:
        row, future = asked
        answers = future.result()
        if not isinstance(answers, Failure) or answers.error_type != FAILED:
            self._in_a_row = 0 if answers else self._in_a_row  # a row without a prompt says nothing of it
            return row, answers
        self._in_a_row += 1
        if self._in_a_row >= _MOST_IN_A_ROW:
            raise UserError(
                f"prompts.expand: {self._expand.base_url} failed for {self._in_a_row} prompts in a row, last with "
                f"{answers.error}. When it is well again, start the same command: what was answered is not asked again"
            )
        return row, answers


def unanswered(prompts: Iterable[str], expand: Expand, output: Storage) -> int:
    """How many different prompts have no answer yet.

    prompts: the prompts.
    expand: the settings.
    output: the output folder.
    """
    kept = {f"{folder}/{name}" for folder in output.folders(FOLDER) for name in output.list(f"{FOLDER}/{folder}")}
    return len({_name(prompt, expand) for prompt in prompts} - kept)


def _answers(prompt: str | None, expand: Expand, output: Storage, endpoint: Endpoint) -> Answers:
    if prompt is None:
        return []
    path = f"{FOLDER}/{_name(prompt, expand)}"
    try:
        return [*records.read(output, path, Answered, _ADVICE).answers]
    except FileNotFoundError:
        found = endpoint.texts(prompt)
    if not isinstance(found, Failure):
        records.write(output, path, Answered(model=expand.model, prompt=prompt, answers=tuple(found)))
    return found


def _name(prompt: str, expand: Expand) -> str:
    """Of the file, in one of 256 folders."""
    request = json.dumps({"count": expand.count, "request": expand.body(prompt)}, sort_keys=True)
    digits = hashlib.blake2b(request.encode(), digest_size=16).hexdigest()
    return f"{digits[:2]}/{digits[2:]}.json"
