"""Files on a local disk and in a real S3 server behave alike."""

from __future__ import annotations

import errno
import os
import pickle
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs

from pipelines.dataset import owned
from pipelines.dataset.lock import RunLock
from pipelines.dataset.remedies import remedy
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from tests.conftest import ROOT
from tests.support.flaky import FAULTS, NO_WRITES, flaky_proxy


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


def test_a_full_and_a_read_only_disk_say_how_to_go_on(tmp_path: Path) -> None:
    """On real small file systems, in a mount namespace of their own."""
    disk, read_only = tmp_path / "disk", tmp_path / "read-only"
    disk.mkdir()
    read_only.mkdir()
    fill = f"""
from pipelines.errors import UserError
from pipelines.dataset.storage import Storage
output = Storage.open({str(disk)!r})
try:
    with output.open_output("data/x") as file:
        file.write(bytes(2 << 20))
except UserError as error:
    print(error)
output.write_bytes("y", b"small")
print(output.list("data"), output.list())
try:
    Storage.open({str(read_only)!r}).write_bytes("y", b"small")
except UserError as error:
    print(error)
"""
    mounts = f"mount -t tmpfs -o size=1m tmpfs {disk} && mount -t tmpfs -o ro tmpfs {read_only}"
    script = f"{mounts} && exec {sys.executable} -c {shlex.quote(fill)}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("no mount namespace for an ordinary user here")
    full, names, refused = done.stdout.splitlines()
    assert f"No space left on device: on the disk of {disk}/data 1.0 of 1.0 MB are free" in full
    assert "start the same command again" in full
    assert names == "[] ['y']"
    assert f"cannot write {read_only}/y: OSError: Read-only file system. Choose a folder" in refused


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


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "gs://bucket/x", "http://host/x", "", " ", "out\0"])
def test_places_that_are_none(uri: str) -> None:
    with pytest.raises(UserError, match=r"s3://|NUL"):
        Storage.open(uri)


def _dangling(out: Path) -> str:
    out.symlink_to("gone")
    return f"{out} is a link to gone, which is not there"


def _a_file(out: Path) -> str:
    out.write_text("a file")
    return f"{out} is not a folder"


def _below_a_file(out: Path) -> str:
    out.parent.joinpath("file").write_text("a file")
    out.symlink_to("file")
    return f"{out} is not a folder"


def _a_loop(out: Path) -> str:
    out.symlink_to(out)
    return f"{out} is a link to {out}, which is not there"


@pytest.mark.parametrize("prepare", [_dangling, _a_file, _below_a_file, _a_loop])
def test_what_is_in_the_way_of_a_folder_is_named(prepare: Callable[[Path], str], tmp_path: Path) -> None:
    words = prepare(tmp_path / "out")
    output = Storage.open(tmp_path / "out")
    for attempt in (
        lambda: output.write_bytes("data/x", b"1"),
        lambda: output.create_bytes("x", b"1"),
        lambda: RunLock(output).__enter__(),
    ):
        with pytest.raises(UserError) as raised:
            attempt()
        assert words in str(raised.value)
        assert str(raised.value).startswith(f"cannot write {output.uri}/")
        assert "Choose a folder that you may write to" in str(raised.value)


def test_names_that_are_too_long_are_a_sentence(tmp_path: Path) -> None:
    output = Storage.open(tmp_path / ("n" * 300))
    for attempt in (lambda: output.write_bytes("x", b""), lambda: output.create_bytes("x", b""), output.everything):
        with pytest.raises(UserError, match="File name too long"):
            attempt()


def test_permissions_say_where_and_for_whom(tmp_path: Path) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied")
    message = remedy(refused, f"{tmp_path}/no/x", writing=True)
    assert f"Permission denied: it is not allowed in {tmp_path}, as user {os.geteuid()}. Choose" in message
    assert "Choose" not in remedy(refused, f"{tmp_path}/no/x", writing=False)


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


def test_wrong_credentials_are_a_sentence(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-key")
    s3fs.S3FileSystem.clear_instance_cache()
    for attempt in (lambda: s3.write_bytes("x", b"1"), lambda: s3.exists("x"), lambda: s3.read_bytes("x")):
        with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY") as raised:
            attempt()
        assert s3.uri in str(raised.value)
        assert "wrong-key" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: on the disk of /"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found"), "No usable temporary directory found"),
    ],
)
def test_a_machine_without_room_for_what_goes_to_s3_is_not_taken_for_the_server(
    error: OSError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file() -> None:
        raise error

    monkeypatch.setattr("tempfile.TemporaryFile", no_file)
    with pytest.raises(UserError, match="s3://bucket/x/data/y in a temporary file of this machine") as raised:
        Storage.open("s3://bucket/x").open_output("data/y").__enter__()
    assert words in str(raised.value)
    assert "set TMPDIR" in str(raised.value)
    assert "AWS" not in str(raised.value)
    assert "bucket '" not in str(raised.value)


def test_who_may_only_read_is_told_so(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.write_bytes("x", b"1")
    with flaky_proxy(os.environ["AWS_ENDPOINT_URL"], share=1.0) as proxy:
        proxy.faults = NO_WRITES
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        s3fs.S3FileSystem.clear_instance_cache()
        assert s3.read_bytes("x") == b"1"
        with pytest.raises(UserError, match=r"cannot write s3://.+/run\.lock: PermissionError.+may read and write"):
            RunLock(s3).__enter__()


@pytest.mark.parametrize(
    ("uri", "environment", "words"),
    [
        ("s3://Bad_Bucket!!/x", {}, 'Invalid bucket name "Bad_Bucket!!"'),
        ("s3://my bucket/x", {}, 'Invalid bucket name "my bucket"'),
        ("s3://bucket/x", {"AWS_ENDPOINT_URL": "localhost:9000"}, "AWS_ENDPOINT_URL = 'localhost:9000' must begin"),
        ("s3://bucket/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:99999"}, "not a valid URI"),
        ("s3://bucket/x", {"AWS_REGION": "no region!"}, "Provided region_name 'no region!'"),
        ("s3://bucket/x", {"AWS_PROFILE": "nobody"}, "profile (nobody) could not be found"),
        ("s3://bucket/x", {"AWS_ACCESS_KEY_ID": "nobody"}, "does not exist in our records"),
        ("s3://bucket/" + "k" * 1100, {}, "cannot write s3://bucket/kkk"),
    ],
)
def test_wrong_places_and_settings_of_s3_end_in_one_line(
    uri: str, environment: dict[str, str], words: str, s3: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()

    def start() -> None:
        owned.check(Storage.open(uri), "run.json", setting="run.output")
        RunLock(Storage.open(uri)).__enter__()

    with pytest.raises(UserError) as raised:
        start()
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_missing_bucket_is_a_sentence(s3: Storage) -> None:
    assert s3.exists("x") is False
    with pytest.raises(UserError, match="'none'"):
        Storage.open("s3://none/folder").write_bytes("x", b"1")
