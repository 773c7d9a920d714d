"""Forms with files are read as the objects that JSON bodies are, as OpenAI's client writes them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import Request

from pipelines.serve import form_body
from pipelines.serve.errors import ApiError
from pipelines.serve.form_body import form_object


def read(body: bytes, content_type: str) -> dict[str, Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", content_type.encode())], "app": None}
    return asyncio.run(form_object(Request(scope, receive)))


def sent(fields: dict[str, Any], files: list[tuple[str, tuple[str, bytes]]]) -> dict[str, Any]:
    request = httpx2.Request("POST", "http://x", data=fields, files=files)
    return read(request.read(), request.headers["content-type"])


def test_names_in_brackets_are_objects_and_lists() -> None:
    fields = {
        "prompt": "ein Stern ★",
        "n": "2",
        "seeds[]": ["1", "2"],
        "tora[sigma]": "1.5",
        "tora[steps][]": ["0", "1"],
    }
    files = [("image[]", ("a.png", b"\x89PNG")), ("image[]", ("b.png", b"")), ("mask", ("m.png", b"mask"))]
    assert sent(fields, files) == {
        "prompt": "ein Stern ★",
        "n": "2",
        "seeds": ["1", "2"],
        "tora": {"sigma": "1.5", "steps": ["0", "1"]},
        "image": [b"\x89PNG", b""],
        "mask": b"mask",
    }
    one = [("image[]", ("a.png", b"a"))]
    assert sent({}, one) == {"image": [b"a"]}
    assert sent({}, [("image", ("a.png", b"a")), ("image", ("b.png", b"b"))]) == {"image": [b"a", b"b"]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"": "1"}, "no name"),
        ({"a]b": "1"}, "no name"),
        ({"a" + "[b]" * 5: "1"}, "no name"),
        ({"a[][b]": "1"}, "before its end"),
        ({"a": "1", "a[b]": "2"}, "a value and an object"),
        ({"a[b]": "1", "a": "2"}, "a value and an object"),
        ({f"f{number}": "1" for number in range(501)}, "Too many fields"),
    ],
)
def test_a_form_that_cannot_be_an_object_says_why(fields: dict[str, str], words: str) -> None:
    with pytest.raises(ApiError, match=words) as raised:
        sent(fields, [("image", ("a.png", b"a"))])
    assert raised.value.status_code == 400


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_is_refused(content_type: str) -> None:
    with pytest.raises(ApiError, match=r"the form cannot be read: (Missing boundary|Invalid)"):
        read(b"--y\r\nnothing", content_type)


def test_without_the_package_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_body, "find_spec", lambda _: None)
    with pytest.raises(ApiError, match="pip install python-multipart"):
        sent({"prompt": "a"}, [("image", ("a.png", b"a"))])
