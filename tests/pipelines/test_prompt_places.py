"""Where prompt files may lie: local paths, file:// and s3://; anything else is one sentence."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from tests.support.prompt_files import read, written


@pytest.mark.parametrize("scheme", ["https", "gs", "gcs", "abfs", "az", "HTTP", "s3a", "hdfs"])
def test_a_scheme_that_is_not_supported_is_named(scheme: str) -> None:
    for form in ("{}://place/p.csv", "{}://place/*.csv", "{}:/place/p.csv"):
        uri = form.format(scheme)
        with pytest.raises(UserError, match=r"only local paths, file:// and s3:// are supported") as raised:
            read(uri)
        assert uri in str(raised.value)


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    written(tmp_path / "a b.txt", "a cat\n")
    for uri in (f"file://{tmp_path}/a%20b.txt", f"file://localhost{tmp_path}/a%20b.txt", f"FILE:{tmp_path}/a%20*.txt"):
        (row,) = read(uri)
        assert row.source == f"{tmp_path}/a b.txt:1"
    with pytest.raises(UserError, match="names the host 'p"):
        read("file://p.txt")
    with pytest.raises(UserError, match="there is no file /gone"):
        read("file:///gone.txt")


def test_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    (tmp_path / "p\udcff.csv").write_text('prompt\n"a" b\n')
    (row,) = read(f"{tmp_path}/*.csv")
    assert row.source == f"{tmp_path}/p\\udcff.csv:2"


def test_a_pipe_is_not_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.txt")
    with pytest.raises(UserError, match="is a pipe"):
        read(tmp_path / "p.txt")


@pytest.mark.parametrize(
    "path", ["a\0b.txt", "x" * 300 + ".txt", "/dev/null/p.txt", "~gone/p.txt", "s3://", "s3://p.txt"]
)
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(UserError):
        read(path)


def test_a_server_that_says_nothing_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "any")
        monkeypatch.setattr("pipelines.dataset.storage.PATIENCE_AT_THE_START_SECONDS", 0.5)
        monkeypatch.setattr("pipelines.dataset.s3._ANSWER_AT_THE_START_SECONDS", 0.2)
        s3fs.S3FileSystem.clear_instance_cache()
        began = time.monotonic()
        with pytest.raises(UserError, match=r"cannot look for s3://bucket/p\.csv"):
            read("s3://bucket/p.csv")
        assert time.monotonic() - began < 20
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "uri", ["hf://a/b", "gs://a", "https://a/b", "FTP://a", "s3:/", "S3://", "file://host/x", "a\0b"]
)
def test_outputs_lie_where_prompts_may(uri: str) -> None:
    with pytest.raises(UserError):
        Storage.open(uri)
    assert Storage.open("S3://bucket/run/").uri == "s3://bucket/run"
    assert Storage.open("file:///a%20b/run").uri == "/a b/run"


class NoServer:
    """A filesystem whose server refuses every connection."""

    def __init__(self, there: bool) -> None:
        self._there = there

    def exists(self, path: str) -> bool:
        return self._there or self._refused()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self._refused()

    def _refused(self) -> bool:
        raise ConnectionError("refused")


@pytest.mark.parametrize("there", [False, True])
def test_a_server_that_does_not_answer_is_said_soon(
    there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Storage, "filesystem", NoServer(there))
    monkeypatch.setattr("pipelines.dataset.storage.PATIENCE_AT_THE_START_SECONDS", 0.5)
    monkeypatch.setattr("pipelines.dataset.outages._SILENT_SECONDS", 0.0)
    for uri in ("s3://bucket/p.csv", "s3://bucket/*.csv"):
        with pytest.raises(UserError, match=r"cannot .*s3://bucket/.*refused.*AWS_ENDPOINT_URL"):
            read(uri)
    assert "the storage server fails, trying for 0 s more: ConnectionError: refused" in caplog.text
