"""Asks an OpenAI-compatible endpoint, with patience where it is busy."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx2

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.expansion.answers import NoAnswer, texts_in
from pipelines.prompts.expansion.config import Expand

NO_ANSWER, FAILED = "NoAnswer", "EndpointFailed"
"""Types of failures: of one prompt, and of the endpoint."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 300.0
_MISTAKES = {
    401: "the key is wrong or missing",
    403: "the key may not do this",
    404: "there is no such address or model",
}
"""Statuses that another try or another prompt does not change."""
_BUSY = (408, 409, 425, 429)


class Endpoint:
    """An endpoint; `ask` may be called from several threads.

    expand: the settings.
    """

    def __init__(self, expand: Expand) -> None:
        self._expand = expand
        self._key = os.environ.get(expand.key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(f"{expand.key_variable}: the key in it has letters or line ends that no key has")
        self._stopped = threading.Event()
        self._url = f"{expand.base_url.rstrip('/')}/chat/completions"
        limits = httpx2.Limits(max_connections=expand.concurrency)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx2.Client(headers=headers, timeout=expand.timeout_s, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def ask(self, prompt: str) -> list[str] | Failure:
        """The texts for a prompt, or why there are none.

        Raises:
            UserError: when no prompt can have an answer: nothing answers there, or the key or the model is wrong.
        """
        silent = True
        for attempt in range(1, self._expand.tries + 1):
            wait = _FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
            try:
                response = self._client.post(self._url, json=self._expand.body(prompt))
                silent = False
                if not response.is_error:
                    return texts_in(_content(response), prompt, self._expand.count)
                kind, problem = FAILED, self._problem(response)
                if response.status_code < 500 and response.status_code not in _BUSY:
                    return Failure(error_type=NO_ANSWER, error=problem, attempts=attempt)
                wait = _asked_to_wait(response, wait)
            except NoAnswer as error:
                kind, problem, wait = NO_ANSWER, str(error), 0.0
            except httpx2.RequestError as error:
                silent = silent and isinstance(error, httpx2.ConnectError)
                kind, problem = FAILED, f"{type(error).__name__}: {error}"
            if attempt == self._expand.tries or self._stopped.wait(min(wait, _LONGEST_WAIT_SECONDS)):
                break
        if silent:
            raise UserError(
                f"prompts.expand.base_url: nothing answers at {self._url} ({problem}). Start the endpoint, and then "
                "the same command again: what was answered is not asked again"
            )
        return Failure(error_type=kind, error=problem, attempts=attempt)

    def stop(self) -> None:
        """Have nothing tried again."""
        self._stopped.set()

    def _problem(self, response: httpx2.Response) -> str:
        """What an error says, without the key, which some servers repeat.

        Raises:
            UserError: when it is the same for every prompt.
        """
        said = response.text.replace(self._key, "***") if self._key else response.text
        problem = f"HTTP {response.status_code}: {said[:300]}"
        if mistake := _MISTAKES.get(response.status_code):
            raise UserError(
                f"prompts.expand: {self._url}: {mistake} (prompts.expand.model = {self._expand.model!r}, key in "
                f"{self._expand.key_variable}): {problem}"
            )
        return problem


def _content(response: httpx2.Response) -> Any:
    """The text of the first choice."""
    try:
        choice = response.json()["choices"][0]
        message = choice["message"]
    except (ValueError, LookupError, TypeError):
        raise NoAnswer(f"it is no chat completion: {response.text[:200]!r}") from None
    if not isinstance(message, dict) or message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise NoAnswer("the model refuses")
    return message.get("content")


def _asked_to_wait(response: httpx2.Response, otherwise: float) -> float:
    """Seconds by the header Retry-After, which has a number or a date."""
    said = response.headers.get("Retry-After", "")
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return otherwise
