"""Prompts from a dataset of the Hugging Face hub: a server of this machine that answers as the hub does."""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem

from pipelines.errors import UserError
from pipelines.prompts import rows as prompt_rows
from pipelines.prompts.columns import Columns
from pipelines.prompts.config import Prompts
from tests.support.prompt_files import read

TOKEN = "hf_" + "s" * 34


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"meta": [{"caption": "a sun"}]}), file)
    return file.getvalue()


FILES = {
    "README.md": b"# Captions\n",
    "csv/lang=en/a.csv.gz": gzip.compress(b"prompt\na cat\n"),
    "csv/lang=de/b.csv": b"prompt\neine Katze\n",
    "data/p-0.parquet": parquet(),
}


class Hub(BaseHTTPRequestHandler):
    """The dataset owner/captions, which wants a token; owner/gated, which wants agreement. Others there are none."""

    broken = False

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.broken and "/resolve/" in path:
            self._answer(403, b"no")
        elif "/owner/gated" in path:
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif "/owner/captions" not in path or self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif "/old" in path:
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif "/tree/main" in path:
            self._tree(path.partition("/tree/main")[2].strip("/"))
        elif "/resolve/main/" in path:
            self._file(path.partition("/resolve/main/")[2])
        else:
            self._answer(200, json.dumps({"id": "owner/captions", "sha": "0" * 40}).encode())

    def _tree(self, folder: str) -> None:
        everything = "recursive=true" in self.path.lower()
        folders = {str(parent) for name in FILES for parent in PurePosixPath(name).parents} - {"."}
        found = [
            *({"type": "directory", "path": name, "oid": "0", "size": 0} for name in sorted(folders)),
            *({"type": "file", "path": name, "oid": "0", "size": len(data)} for name, data in FILES.items()),
        ]
        inside = [one for one in found if PurePosixPath(folder) in PurePosixPath(str(one["path"])).parents]
        direct = [one for one in inside if everything or str(PurePosixPath(str(one["path"])).parent) == (folder or ".")]
        if direct:
            self._answer(200, json.dumps(direct).encode(), {"Content-Type": "application/json"})
        else:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _file(self, name: str) -> None:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        self._answer(206, FILES[name][int(first) : int(last) + 1])

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    kind = type("Fresh", (Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    HfFileSystem.clear_instance_cache()
    yield kind
    server.shutdown()
    server.server_close()
    HfFileSystem.clear_instance_cache()


def test_files_folders_and_globs(hub: type[Hub]) -> None:
    home = "hf://datasets/owner/captions"
    for path in ("csv", "csv/", "csv/*/*.csv*", "csv/**/*.csv*"):
        rows = read(f"{home}/{path}", columns=Columns(concept="lang"))
        assert [(row.prompt, row.concept) for row in rows] == [("eine Katze", "de"), ("a cat", "en")], path  # type: ignore[union-attr]
    (row,) = read("HF://datasets/owner/captions@main/data/p-0.parquet", columns=Columns(prompt="meta.caption"))
    assert row.prompt == "a sun"
    assert row.source == "hf://datasets/owner/captions@main/data/p-0.parquet:1"
    (digest,) = prompt_rows.digests(Prompts(path=f"{home}/data/p-0.parquet"))
    assert digest.bytes == len(FILES["data/p-0.parquet"])
    with pytest.raises(UserError, match=r"captions has files of several formats: csv .*, parquet"):
        read(home)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("datasets/owner/gone/p.csv", "no such dataset, or it is private: set HF_TOKEN"),
        ("datasets/owner/gone/*.csv", "no such dataset, or it is private: set HF_TOKEN"),
        ("datasets/owner/gated/p.csv", "accept the terms"),
        ("datasets/owner/captions@old/p.csv", "no such revision"),
        ("datasets/owner/captions/gone.csv", "there is no file"),
        ("datasets/owner/captions/gone/*.csv", "no file matches"),
        ("datasets/owner", "names no dataset of the hub: write hf://datasets/OWNER/NAME/FILE"),
        ("owner/model/p.csv", "names no dataset of the hub"),
        ("/p.csv", "names no dataset of the hub"),
    ],
)
def test_what_is_not_there_is_one_line(hub: type[Hub], path: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        read(f"hf://{path}")
    assert "\n" not in str(raised.value)


def test_without_a_token_and_without_a_server(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    HfFileSystem.clear_instance_cache()
    with pytest.raises(UserError, match="set HF_TOKEN to a token that may read it") as raised:
        read("hf://datasets/owner/captions/csv")
    assert "hf_wrong" not in str(raised.value)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"cannot look for hf://.*Check HF_TOKEN, HF_ENDPOINT and the connection"
    ) as raised:
        read("hf://datasets/owner/captions/csv")
    assert "\n" not in str(raised.value)


def test_a_file_that_breaks_off_is_one_line_without_the_token(hub: type[Hub]) -> None:
    hub.broken = True
    for name in ("csv/lang=de/b.csv", "csv/lang=en/a.csv.gz", "data/p-0.parquet"):
        with pytest.raises(UserError, match=rf"cannot read hf://datasets/owner/captions/{name}: .*403") as raised:
            read(f"hf://datasets/owner/captions/{name}")
        assert "\n" not in str(raised.value)
        assert TOKEN not in str(raised.value)
