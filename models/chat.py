"""An OpenAI-compatible endpoint that is asked with patience where it is busy. Importable without torch."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2

from models.errors import ServiceError, require

T = TypeVar("T")

NO_ANSWER, FAILED = "NoAnswer", "EndpointFailed"
"""Kinds of `Unanswered`: of one question, and of the endpoint."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 300.0
_MISTAKES = {
    401: "the key is wrong or missing",
    403: "the key may not do this",
    404: "there is no such address or model",
}
"""Statuses that another try or another question does not change."""
_BUSY = (408, 409, 425, 429)


@dataclass(frozen=True, kw_only=True)
class Service:
    """Where and how an endpoint is asked."""

    base_url: str
    """Of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."""
    key_variable: str = "OPENAI_API_KEY"
    """Name of the environment variable with the key; without one in it none is sent."""
    concurrency: int = 8
    """Requests at a time."""
    timeout_s: float = 120.0
    """Seconds without an answer after which a request is tried again."""
    tries: int = 5
    """How often a request is made before it counts as failed."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        rule = "needs http:// or https:// and a host; a key stands in the variable that key_variable names, never here"
        good = url.scheme in ("http", "https") and bool(url.hostname) and "@" not in url.netloc and url.port != 0
        require(good, "base_url", url.hostname, rule)  # not all of it: a password may be there
        require(1 <= self.concurrency <= 1000, "concurrency", self.concurrency, "needs 1 to 1000")
        require(self.timeout_s > 0 and math.isfinite(self.timeout_s), "timeout_s", self.timeout_s, "needs more than 0")
        require(1 <= self.tries <= 100, "tries", self.tries, "needs 1 to 100")


class NoAnswer(Exception):
    """An answer of no use, which another try may better."""


class Unanswered(Exception):
    """A question that has no answer after all tries.

    kind: `NO_ANSWER` or `FAILED`.
    problem: why, of the last try.
    attempts: tries that were made.
    """

    def __init__(self, kind: str, problem: str, attempts: int) -> None:
        super().__init__(problem)
        self.kind, self.problem, self.attempts = kind, problem, attempts


class Chat:
    """An endpoint; `ask` may be called from several threads.

    service: where and how it is asked.
    model: its name there.
    table: the table of the config with these settings, for messages.

    Raises:
        ServiceError: when the key cannot be sent.
    """

    def __init__(self, service: Service, model: str, table: str) -> None:
        self._service, self._model, self._table = service, model, table
        self._key = os.environ.get(service.key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ServiceError(f"{service.key_variable}: the key in it has letters or line ends that no key has")
        self._stopped = threading.Event()
        self._url = f"{service.base_url.rstrip('/')}/chat/completions"
        limits = httpx2.Limits(max_connections=service.concurrency)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx2.Client(headers=headers, timeout=service.timeout_s, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def ask(self, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T:
        """What a function finds in the answer.

        body: fields of the request besides the model.
        read: is given the first choice; raises NoAnswer where it is of no use.

        Raises:
            Unanswered: when this question has no answer.
            ServiceError: when no question can have one: nothing answers there, or the key or the model is wrong.
        """
        silent, tries = True, self._service.tries
        for attempt in range(1, tries + 1):
            wait = _FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
            try:
                response = self._client.post(self._url, json={**body, "model": self._model})
                silent = False
                if not response.is_error:
                    return read(_choice(response))
                kind, problem = FAILED, self._problem(response)
                if response.status_code < 500 and response.status_code not in _BUSY:
                    raise Unanswered(NO_ANSWER, problem, attempt)
                wait = _asked_to_wait(response, wait)
            except NoAnswer as error:
                kind, problem, wait = NO_ANSWER, str(error), 0.0
            except httpx2.RequestError as error:
                silent = silent and isinstance(error, httpx2.ConnectError)
                kind, problem = FAILED, f"{type(error).__name__}: {error}"
            if attempt == tries or self._stopped.wait(min(wait, _LONGEST_WAIT_SECONDS)):
                break
        if silent:
            raise ServiceError(
                f"{self._table}.base_url: nothing answers at {self._url} ({problem}). Start the endpoint, and then "
                "the same command again: what was answered is not asked again"
            )
        raise Unanswered(kind, problem, attempt)

    def stop(self) -> None:
        """Have nothing tried again."""
        self._stopped.set()

    def _problem(self, response: httpx2.Response) -> str:
        """What an error says, without the key, which some servers repeat.

        Raises:
            ServiceError: when it is the same for every question.
        """
        said = response.text.replace(self._key, "***") if self._key else response.text
        problem = f"HTTP {response.status_code}: {said[:300]}"
        if mistake := _MISTAKES.get(response.status_code):
            raise ServiceError(
                f"{self._table}: {self._url}: {mistake} (model = {self._model!r}, key in "
                f"{self._service.key_variable}): {problem}"
            )
        return problem


def content_of(choice: Mapping[str, Any]) -> Any:
    """The text of a choice.

    Raises:
        NoAnswer: when the model refuses.
    """
    message = choice["message"]
    if not isinstance(message, dict) or message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise NoAnswer("the model refuses")
    return message.get("content")


def _choice(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        choice = response.json()["choices"][0]
        return {**choice, "message": choice["message"]}
    except (ValueError, LookupError, TypeError):
        raise NoAnswer(f"it is no chat completion: {response.text[:200]!r}") from None


def _asked_to_wait(response: httpx2.Response, otherwise: float) -> float:
    """Seconds by the header Retry-After, which has a number or a date."""
    said = response.headers.get("Retry-After", "")
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return otherwise
