"""What stands in the way of a folder or a bucket ends in one line that says what to do."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import s3fs

from pipelines.dataset import owned
from pipelines.dataset.lock import RunLock
from pipelines.dataset.remedies import remedy
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from tests.conftest import ROOT
from tests.support.flaky import NO_WRITES, flaky_proxy


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
