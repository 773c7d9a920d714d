"""Bodies that are no JSON object: the answer says what is wrong, and where."""

from __future__ import annotations

import gzip
import json

import pytest

from pipelines.serve.errors import ApiError
from pipelines.serve.json_body import json_object

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"prompt": "a red star", "n"', ["expecting ':' delimiter", "line 1, column 29", "body ends there"]),
        (b'{"prompt": "a red', ["unterminated string starting in line 1, column 12", "'{\"prompt\": '"]),
        (b'{"prompt": "a",\n "n": two}', ["expecting value in line 2, column 7", '"n": \'']),
        (b"{'prompt': 'a'}", ["property name enclosed in double quotes", "line 1, column 2"]),
        (b'{"prompt": "a"} {}', ["extra data"]),
        (b"prompt=a&n=2", ["expecting value in line 1, column 1"]),
        (b"", ["empty", '{"prompt": "a red star"}']),
        (b" \n", ["empty"]),
        (b'[{"prompt": "a"}]', ["an array", '{"prompt": "a red star"}']),
        (b'"a"', ["a string"]),
        (b"7", ["a number"]),
        (b"null", ["null"]),
        (b"true", ["true or false"]),
        (b"[" * 100_000, ["nested too deeply"]),
        (b'{"tora": {"sigma": 1, "sigma": 2}}', ["key 'sigma' twice"]),
        (b'{"\\ud800": 1, "\\ud800": 2}', ["twice"]),
        (b'{"seed": 1' + b"0" * 5000 + b"}", ["number", "5001 digits"]),
        ('{"prompt": "crème"}'.encode("latin-1"), ["not UTF-8", "byte 14", "0xe8"]),
        ('{"prompt": "a"}'.encode("utf-16")[:-1], ["not UTF-16"]),
        (gzip.compress(b'{"prompt": "a"}', mtime=0), ["not UTF-8"]),
    ],
)
def test_a_body_that_is_no_json_object(body: bytes, words: list[str]) -> None:
    with pytest.raises(ApiError) as raised:
        json_object(body, JSON)
    assert raised.value.status_code == 400
    assert raised.value.code == "invalid_json"
    json.dumps(raised.value.body(), ensure_ascii=False).encode()
    for word in words:
        assert word in raised.value.detail


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonl"},
        {"content-type": "json"},
    ],
)
def test_another_content_type_is_named_and_the_right_one_too(headers: dict[str, str]) -> None:
    with pytest.raises(ApiError) as raised:
        json_object(b'{"prompt": "a"}', headers)
    assert headers.get("content-type") or "is missing" in raised.value.detail
    assert headers.get("content-type", "") in raised.value.detail
    assert "Content-Type: application/json" in raised.value.detail


def test_a_compressed_body_is_refused_by_its_header() -> None:
    with pytest.raises(ApiError, match="Content-Encoding is 'gzip'"):
        json_object(gzip.compress(b"{}", mtime=0), JSON | {"content-encoding": "gzip"})


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_in_every_encoding_of_unicode(kind: str, encoding: str) -> None:
    body = '{"prompt": "crème", "n": 2}'.encode(encoding)
    assert json_object(body, {"content-type": kind}) == {"prompt": "crème", "n": 2}
