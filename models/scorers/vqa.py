"""The kind "vqa": yes/no questions about a picture to a vision-language model, at an OpenAI-compatible endpoint or in
this process. Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from models.chat import Service
from models.errors import ModelError, meant
from models.loading.revision import folder_revision
from models.scorers import questions
from models.scorers.base import Entry, Scorer, ScorerSpec


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The kind's options, checked."""

    question: str = questions.QUESTION
    """With {prompt}, where the prompt or a part of it stands."""
    parts: bool = True
    """Whether to ask about the prompt's parts too."""
    endpoint: Service | None = None
    """None loads the model with transformers."""
    logprobs: bool = True
    """Whether the endpoint is asked for the probabilities of its words; without them an answer is 0 or 1."""


def asked(options: Mapping[str, Any]) -> Asked:
    """The options of a spec.

    Raises:
        ModelError: when one does not fit; the message begins with its name.
    """
    given = dict(options)
    for name, kind in (("question", str), ("parts", bool), ("logprobs", bool), ("endpoint", Mapping)):
        if name in given and not isinstance(given[name], kind):
            raise ModelError(f"options.{name} = {given[name]!r}: needs {_WORDS[kind]}")
    try:
        if "endpoint" in given:
            given["endpoint"] = _service(given["endpoint"])
        questions.check(given.get("question", questions.QUESTION))
        return Asked(**given)
    except ValueError as error:
        raise ModelError(f"options.{error}") from None


_WORDS = {str: "a text", bool: "true or false", Mapping: 'a table, such as { base_url = "http://127.0.0.1:8000/v1" }'}


def _service(table: Mapping[str, Any]) -> Service:
    known = {one.name: one for one in fields(Service)}
    for key, value in table.items():
        if key not in known:
            raise ValueError(f"endpoint has the unknown key {key!r}{meant(key, known)}")
        wanted = {"str": str, "int": int, "float": int | float}[str(known[key].type)]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"endpoint.{key} = {value!r}: needs another type of value")
    if "base_url" not in table:
        raise ValueError("endpoint: needs base_url")
    try:
        return Service(**table)
    except ValueError as error:
        raise ValueError(f"endpoint.{error}") from None


def _check(spec: ScorerSpec) -> None:
    if not spec.model:
        raise ModelError("model = '' is out of range: needs a name at the endpoint, or a folder or hub id")
    asked(spec.options)


def _revision(spec: ScorerSpec) -> str:
    local = asked(spec.options).endpoint is None and Path(spec.model).is_dir()
    return folder_revision(Path(spec.model)) if local else spec.revision


def _open(spec: ScorerSpec, device: str) -> Scorer:
    from models.scorers.yes_no import YesNo

    options = asked(spec.options)
    if options.endpoint is not None:
        from models.scorers.vqa_endpoint import EndpointModel

        return YesNo(EndpointModel(options.endpoint, spec.model, logprobs=options.logprobs), options, spec.revision)
    from models.scorers.vqa_local import LocalModel

    revision = "" if Path(spec.model).is_dir() else spec.revision
    return YesNo(LocalModel(spec.model, revision, device), options, spec.revision)


ENTRY = Entry(
    open=_open,
    check=_check,
    revision=_revision,
    vectors=False,
    score='probability of "yes" to the question about the whole prompt',
    columns={
        "mean": "mean probability of yes over the questions about the prompt and its parts",
        "min": "lowest probability of yes over these questions",
    },
    answers="the questions about the image and the probabilities of yes",
    options=tuple(one.name for one in fields(Asked)),
)
