"""The body of a route where several models are served: that of the model which it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, Union

from pydantic import Discriminator, Tag

from pipelines.serve.schema import ImageRequest, request_model
from pipelines.serve.several import Models

R = TypeVar("R", bound=ImageRequest)


def bodies(models: Models, kind: type[R]) -> list[type[R]]:
    """The bodies of a kind of requests, one for each model, with its limits and defaults."""
    return [request_model(model.args, model.serving, kind, number) for number, model in enumerate(models, 1)]


def either(models: Models, each: Sequence[type[ImageRequest]]) -> Any:
    """The type of a body that is one of these, as its field `model` says.

    models: those that are served.
    each: as `bodies` gives them.
    """
    if len(each) == 1:
        return each[0]
    tags = {model.name: body.__name__ for model, body in zip(models, each, strict=True)}

    def tag(value: Any) -> str:
        """Raises ApiError (404) for a model that there is not."""
        name = value.get("model") if isinstance(value, dict) else value.model
        # What is no name at all is refused by any of them.
        return tags[models.of(name if isinstance(name, str) else None).name]

    tagged: Any = tuple(Annotated[body, Tag(tags[model.name])] for model, body in zip(models, each, strict=True))
    return Annotated[Union[tagged], Discriminator(tag)]  # noqa: UP007 # the types are known at run time alone
