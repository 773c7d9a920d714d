"""Asks a language model for prompts."""

from __future__ import annotations

from models.chat import Chat, Unanswered, content_of
from models.errors import ServiceError
from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.expansion.answers import texts_in
from pipelines.prompts.expansion.config import Expand


class Endpoint(Chat):
    """The endpoint of [prompts.expand].

    expand: the settings.

    Raises:
        UserError: when the key cannot be sent.
    """

    def __init__(self, expand: Expand) -> None:
        self._expand = expand
        try:
            super().__init__(expand, expand.model, "prompts.expand")
        except ServiceError as error:
            raise UserError(str(error)) from error

    def texts(self, prompt: str) -> list[str] | Failure:
        """The texts for a prompt, or why there are none.

        Raises:
            UserError: when no prompt can have an answer: nothing answers there, or the key or the model is wrong.
        """
        try:
            return self.ask(
                self._expand.body(prompt), lambda choice: texts_in(content_of(choice), prompt, self._expand.count)
            )
        except Unanswered as none:
            return Failure(error_type=none.kind, error=none.problem, attempts=none.attempts)
        except ServiceError as error:
            raise UserError(str(error)) from error
