"""Prompts from a dataset of the Hugging Face hub: a server of this machine that answers as the hub does."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem

from pipelines.errors import UserError
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.columns import Columns
from pipelines.prompts.config import Prompts
from tests.support.hub import TOKEN, HubServer, Repo, hub_server
from tests.support.prompt_files import read


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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """It has the dataset me/captions, which is private, and me/gated."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server(every=0) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.repos["me/captions"] = Repo(private=True, files={name: (data, False) for name, data in FILES.items()})
        server.repos["me/gated"] = Repo(private=False, gated=True)
        HfFileSystem.clear_instance_cache()
        yield server
    HfFileSystem.clear_instance_cache()


def test_files_folders_and_globs(hub: HubServer) -> None:
    home = "hf://datasets/me/captions"
    for path in ("csv", "csv/", "csv/*/*.csv*", "csv/**/*.csv*"):
        rows = read(f"{home}/{path}", columns=Columns(concept="lang"))
        assert [(row.prompt, row.concept) for row in rows] == [("eine Katze", "de"), ("a cat", "en")], path  # type: ignore[union-attr]
    (row,) = read("HF://datasets/me/captions@main/data/p-0.parquet", columns=Columns(prompt="meta.caption"))
    assert row.prompt == "a sun"
    assert row.source == "hf://datasets/me/captions@main/data/p-0.parquet:1"
    (digest,) = prompt_reading.digests(Prompts(path=f"{home}/data/p-0.parquet"))
    assert digest.bytes == len(FILES["data/p-0.parquet"])
    with pytest.raises(UserError, match=r"captions has files of several formats: csv .*, parquet"):
        read(home)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("datasets/me/gone/p.csv", "no such dataset, or it is private: set HF_TOKEN"),
        ("datasets/me/gone/*.csv", "no such dataset, or it is private: set HF_TOKEN"),
        ("datasets/me/gated/p.csv", "accept the terms"),
        ("datasets/me/captions@old/p.csv", "no such revision"),
        ("datasets/me/captions/gone.csv", "there is no file"),
        ("datasets/me/captions/gone/*.csv", "no file matches"),
        ("datasets/me", "names no dataset of the hub: write hf://datasets/OWNER/NAME/FILE"),
        ("me/model/p.csv", "names no dataset of the hub"),
        ("/p.csv", "names no dataset of the hub"),
    ],
)
def test_what_is_not_there_is_one_line(hub: HubServer, path: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        read(f"hf://{path}")
    assert "\n" not in str(raised.value)


def test_without_a_token_and_without_a_server(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    HfFileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"401.*Check HF_TOKEN") as raised:
        read("hf://datasets/me/captions/csv")
    assert "hf_wrong" not in str(raised.value)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("pipelines.prompts.hub.PATIENCE_AT_THE_START_SECONDS", 0.2)
    with pytest.raises(
        UserError, match=r"cannot look for hf://.*Check HF_TOKEN, HF_ENDPOINT and the connection"
    ) as raised:
        read("hf://datasets/me/captions/csv")
    assert "\n" not in str(raised.value)


def test_a_file_that_breaks_off_is_one_line_without_the_token(hub: HubServer) -> None:
    hub.repos["me/captions"].broken = True
    for name in ("csv/lang=de/b.csv", "csv/lang=en/a.csv.gz", "data/p-0.parquet"):
        with pytest.raises(UserError, match=rf"cannot read hf://datasets/me/captions/{name}: .*403") as raised:
            read(f"hf://datasets/me/captions/{name}")
        assert "\n" not in str(raised.value)
        assert TOKEN not in str(raised.value)
        assert "secret" not in str(raised.value)


def test_requests_that_are_dropped_are_made_again(hub: HubServer) -> None:
    hub.every = 3
    rows = read("hf://datasets/me/captions/csv")
    assert [row.prompt for row in rows] == ["eine Katze", "a cat"]
    assert hub.dropped > 0
