"""Files on a local disk and in a real S3 server behave alike."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs

from pipelines.dataset.lock import RunLock
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from tests.conftest import ROOT
from tests.support.flaky import FAULTS, flaky_proxy


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


def test_a_file_of_a_folder_s_name_is_not_in_the_folder(storage: Storage) -> None:
    storage.write_bytes("data", b"x")
    assert list(Storage.open(storage.path("data")).everything()) == []
    assert list(storage.everything()) == ["data"]


def test_a_file_is_created_once(storage: Storage) -> None:
    assert storage.create_bytes("lock", b"first")
    assert not storage.create_bytes("lock", b"second")
    assert storage.read_bytes("lock") == b"first"


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


def test_what_a_kill_leaves_is_swept(tmp_path: Path) -> None:
    writer = "import os, sys; from pipelines.dataset.storage import Storage\n"
    writer += "with Storage.open(sys.argv[1]).open_output('data/x') as f: f.write(b'half'); f.flush(); os._exit(9)"
    subprocess.run([sys.executable, "-c", writer, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = (tmp_path / "data").iterdir()
    (tmp_path / "data" / "y").write_bytes(b"whole")
    output = Storage.open(tmp_path)
    assert output.list("data") == ["y"]
    output.sweep("data")
    assert not left.exists()
    assert output.list("data") == ["y"]


def test_trouble_that_passes_is_waited_out(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The S3 client's own waits between its attempts, three quarters of the time, are cut short; ours are not."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    content = os.urandom(200_000)
    with flaky_proxy(os.environ["AWS_ENDPOINT_URL"], share=0.4, stall_seconds=0.1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        s3fs.S3FileSystem.clear_instance_cache()
        for round_ in range(6):
            with s3.open_output(f"data/{round_}") as file:
                file.write(content)
            with s3.open_input(f"data/{round_}") as read:
                assert read.seek(-1000, 2) == len(content) - 1000
                assert read.read() == content[-1000:]
                assert read.seek(0) == 0
                assert read.read() == content
            s3.write_bytes("small", str(round_).encode())
            assert s3.read_bytes("small") == str(round_).encode()
            assert len(s3.list("data")) == round_ + 1
        assert set(proxy.injected) >= set(FAULTS)
        proxy.share, proxy.faults = 1.0, ("server_error",)
        with pytest.raises(UserError, match="start the same command again"):
            replace(s3, patience_seconds=1.0).write_bytes("small", b"")
    s3fs.S3FileSystem.clear_instance_cache()


def test_it_travels_without_secrets(s3: Storage) -> None:
    data = pickle.dumps(s3)
    assert pickle.loads(data) == s3  # noqa: S301 (our own bytes)
    assert b"secret" not in data


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage.open("out/x").uri == f"{tmp_path}/out/x"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_a_file_is_created_once_without_hard_links(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    test_a_file_is_created_once(Storage.open(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    with RunLock(Storage.open(tmp_path / "out")) as lock:
        lock.check()


def test_folders_that_cannot_be_synced_are_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    Storage.open(tmp_path).write_bytes("x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_a_lock_that_is_no_file_does_not_hold_a_job_for_ever(tmp_path: Path) -> None:
    (tmp_path / "run.lock").symlink_to("gone")
    with pytest.raises(UserError, match=r"run\.lock can neither be written nor read"), RunLock(Storage.open(tmp_path)):
        pass
