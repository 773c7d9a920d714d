"""Reads forms with files (multipart/form-data) as objects such as JSON bodies are: OpenAI clients send pictures so."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from pipelines.serve.errors import ApiError
from pipelines.serve.json_body import JsonRoute

KIND = "multipart/form-data"

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,4})")
_MOST_FILES, _MOST_FIELDS, _MOST_BYTES_OF_A_FIELD = 32, 500, 1 << 20


class FormRoute(JsonRoute):
    """A route whose requests have a form or a JSON object as their body."""

    async def read_object(self, request: Request) -> dict[str, Any]:
        """As of `JsonRoute`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return await form_object(request) if kind == KIND else await super().read_object(request)


def form_too(*bodies: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route: its body may come as a form as well.

    bodies: the models that its body may have.
    """
    each = [{"$ref": f"#/components/schemas/{body.__name__}"} for body in bodies]
    content = {KIND: {"schema": each[0] if len(each) == 1 else {"oneOf": each}}}
    return {"requestBody": {"content": content}}


async def form_object(request: Request) -> dict[str, Any]:
    """The fields of a form: files as bytes, all others as texts. "a[b]" is field b of an object a, "a[]" one of a list;
    what is there several times is a list too.

    request: with the form.

    Raises:
        ApiError: when it cannot be read.
    """
    if find_spec("python_multipart") is None:
        message = "this server reads no forms, as it lacks python-multipart (pip install python-multipart): send JSON"
        raise ApiError(400, message, code="no_forms")
    limits: dict[str, Any] = {"max_files": _MOST_FILES, "max_fields": _MOST_FIELDS}
    try:
        form = await request.form(**limits, max_part_size=_MOST_BYTES_OF_A_FIELD)
    except HTTPException as error:
        raise ApiError(400, f"the form cannot be read: {error.detail}", code="invalid_form") from None
    found: dict[str, Any] = {}
    try:
        for name, value in form.multi_items():
            _place(found, name, await value.read() if isinstance(value, UploadFile) else value)
    finally:
        await form.close()
    return found


def _place(found: dict[str, Any], name: str, value: str | bytes) -> None:
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise _wrong(name, "is no name of a field")
    keys = [matched[1], *re.findall(r"\[([^\[\]]*)\]", matched[2])]
    is_list = len(keys) > 1 and not keys[-1]
    keys = keys[:-1] if is_list else keys
    if "" in keys:
        raise _wrong(name, 'has "[]" before its end')
    at = found
    for key in keys[:-1]:
        at = at.setdefault(key, {})
        if not isinstance(at, dict):
            raise _wrong(name, f"{key} is a value and an object")
    before = at.get(keys[-1])
    if isinstance(before, dict):
        raise _wrong(name, f"{keys[-1]} is a value and an object")
    if before is None and not is_list:
        at[keys[-1]] = value
    else:
        at[keys[-1]] = [*(before if isinstance(before, list) else [] if before is None else [before]), value]


def _wrong(name: str, what: str) -> ApiError:
    return ApiError(400, f"the form's field {name!r}: {what}", param=name, code="invalid_form")
