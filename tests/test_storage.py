"""Files on a local disk and in a real S3 server behave alike."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import s3fs

from pipelines.errors import UserError
from pipelines.storage import Storage


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage.open(tmp_path / "folder")
    s3: Storage = request.getfixturevalue("s3")
    return s3


def test_files_come_and_go(storage: Storage) -> None:
    assert storage.list("data") == []
    assert not storage.exists("data/b")
    storage.write_bytes("data/b", b"first")
    storage.write_bytes("data/b", b"second")
    storage.write_bytes("data/a", b"")
    storage.write_bytes("data/deeper/c", b"x")
    assert storage.list("data") == ["a", "b"]
    assert storage.exists("data/b")
    assert storage.read_bytes("data/b") == b"second"
    assert (storage.size("data/a"), storage.size("data/b")) == (0, 6)
    storage.remove("data/b")
    storage.remove("data/b")
    assert storage.list("data") == ["a"]


def test_missing_files_are_missing(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("gone")
    with pytest.raises(FileNotFoundError):
        storage.open_input("gone").read()


def test_inputs_are_seekable(storage: Storage) -> None:
    storage.write_bytes("x", bytes(range(256)))
    with storage.open_input("x") as file:
        file.seek(-2, 2)
        assert file.read() == b"\xfe\xff"
        file.seek(3)
        assert file.read(2) == b"\x03\x04"


def test_a_stream_appears_whole_or_not_at_all(storage: Storage) -> None:
    storage.write_bytes("plan/p", b"old")
    with pytest.raises(RuntimeError), storage.open_output("plan/p") as file:  # noqa: PT012 (the write must come first)
        file.write(b"half")
        raise RuntimeError
    assert storage.read_bytes("plan/p") == b"old"
    with storage.open_output("plan/p") as file:
        file.write(b"new")
        assert storage.list("plan") == ["p"]
        assert storage.read_bytes("plan/p") == b"old"
    assert storage.read_bytes("plan/p") == b"new"


def test_nothing_is_left_beside_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Storage.open(tmp_path).open_output("x"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_it_travels_without_secrets(s3: Storage) -> None:
    data = pickle.dumps(s3)
    assert pickle.loads(data) == s3  # noqa: S301 (our own bytes)
    assert b"secret" not in data


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage.open("out/x").uri == f"{tmp_path}/out/x"


@pytest.mark.parametrize("uri", ["s3://", "gs://bucket/x", "http://host/x"])
def test_places_that_are_none(uri: str) -> None:
    with pytest.raises(UserError, match="s3://"):
        Storage.open(uri)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="out/data/x"):
        Storage.open(tmp_path / "out").write_bytes("data/x", b"1")


def test_wrong_credentials_are_a_sentence(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-key")
    s3fs.S3FileSystem.clear_instance_cache()
    for attempt in (lambda: s3.write_bytes("x", b"1"), lambda: s3.exists("x"), lambda: s3.read_bytes("x")):
        with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY") as raised:
            attempt()
        assert s3.uri in str(raised.value)
        assert "wrong-key" not in str(raised.value)


def test_a_missing_bucket_is_a_sentence(s3: Storage) -> None:
    assert s3.exists("x") is False
    with pytest.raises(UserError, match="'none'"):
        Storage.open("s3://none/folder").write_bytes("x", b"1")
