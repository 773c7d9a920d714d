"""Yes/no questions about pictures to an OpenAI-compatible endpoint."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.chat import Chat, NoAnswer, Service, Unanswered, content_of
from models.errors import ModelError

_MOST_TOKENS = 16
"""Of an answer. The first word is enough; some servers refuse to write less."""
_ALTERNATIVES = 20
"""Words whose probabilities are asked for: the most that servers give."""


class EndpointModel:
    """A vision-language model behind an endpoint.

    service: where and how it is asked.
    model: its name there.
    logprobs: whether it is asked for the probabilities of its words.

    Raises:
        ServiceError: when the key cannot be sent.
    """

    def __init__(self, service: Service, model: str, *, logprobs: bool) -> None:
        self._chat = Chat(service, model, "options.endpoint")
        self._pool = ThreadPoolExecutor(service.concurrency)
        self._more = {"logprobs": True, "top_logprobs": _ALTERNATIVES} if logprobs else {}
        self.name = model

    def ask(self, asked: Sequence[tuple[NDArray[np.uint8], str]]) -> list[float]:
        """As of `models.scorers.yes_no.Answers`.

        Raises:
            ModelError: when a question has no answer after all tries.
            ServiceError: as `Chat.ask`.
        """
        urls: dict[int, str] = {}
        for image_HWC, _ in asked:
            urls[id(image_HWC)] = urls.get(id(image_HWC)) or _url(image_HWC)
        waiting = [self._pool.submit(self._ask, urls[id(image_HWC)], text) for image_HWC, text in asked]
        try:
            return [one.result() for one in waiting]
        finally:
            for one in waiting:
                one.cancel()

    def _ask(self, url: str, question: str) -> float:
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": _MOST_TOKENS, "temperature": 0}
        try:
            return self._chat.ask({**body, **self._more}, yes_in)
        except Unanswered as none:
            raise ModelError(f"{question!r} has no answer after {none.attempts} tries: {none.problem}") from none


def yes_in(choice: Mapping[str, Any]) -> float:
    """The probability of "yes" in an answer: from those of the words that could be its first one, where they are given,
    else 1 or 0 by the text.

    choice: of the completion.

    Raises:
        NoAnswer: when it is neither yes nor no.
    """
    text = content_of(choice)
    tokens = (choice.get("logprobs") or {}).get("content") or []
    first = next((token for token in tokens if token["token"].strip()), None)
    if first and first.get("top_logprobs"):
        shares = {word: sum(_shares(first["top_logprobs"], word)) for word in ("yes", "no")}
        if total := sum(shares.values()):
            return shares["yes"] / total
    word = _word(text if isinstance(text, str) else "")
    if word not in ("yes", "no"):
        raise NoAnswer(f"the answer is neither yes nor no: {text!r:.200}")
    return float(word == "yes")


def _shares(alternatives: Sequence[Mapping[str, Any]], word: str) -> list[float]:
    return [math.exp(one["logprob"]) for one in alternatives if _word(one["token"]) == word]


def _word(text: str) -> str:
    """The first word, in small letters."""
    words = text.split(maxsplit=1)
    return words[0].strip(".,!:;*\"'`").lower() if words else ""


def _url(image_HWC: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
