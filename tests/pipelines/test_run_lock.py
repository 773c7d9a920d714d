"""One job at a time writes to a folder, and a dead job's lock does not stand in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.dataset.lock import FILE, RunLock
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from tests.conftest import ROOT

HOLD = """
import sys, time
from pipelines.dataset.lock import RunLock
from pipelines.dataset.storage import Storage
with RunLock(Storage.open(sys.argv[1]), beat_seconds=0.2):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage.open(tmp_path) if request.param == "local" else request.getfixturevalue("s3")


def test_a_second_job_is_refused_until_the_first_ends_or_dies(storage: Storage) -> None:
    with RunLock(storage):
        with pytest.raises(UserError, match=f"process {os.getpid()}.*--break-lock"), RunLock(storage):
            pass
        assert storage.exists(FILE)
    assert not storage.exists(FILE)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, storage.uri], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {holder.pid}"), RunLock(storage):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert storage.exists(FILE)
    with RunLock(storage):
        pass
    assert storage.list() == []


def _of_another_machine(storage: Storage, beat: int) -> None:
    lock = {"owner": "else", "machine": "other", "pid": 1, "started": "1", "beat": beat, "beat_seconds": 0.4}
    storage.write_bytes(FILE, json.dumps(lock).encode())


def test_from_another_machine_the_heartbeat_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.dataset.lock._POLL_SECONDS", 0.1)
    storage = Storage.open(tmp_path)
    _of_another_machine(storage, 1)
    with RunLock(storage):  # its heart stands still
        pass
    _of_another_machine(storage, 1)
    monkeypatch.setattr(time, "sleep", lambda _: _of_another_machine(storage, 2))
    with pytest.raises(UserError, match="process 1 on other"), RunLock(storage):
        pass
    with RunLock(storage, broken=True):
        pass


def test_who_loses_the_lock_stops(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    with RunLock(storage, beat_seconds=0.05) as lock:
        lock.check()
        _of_another_machine(storage, 1)
        deadline = time.monotonic() + 10
        with pytest.raises(UserError, match="taken over by process 1 on other"):  # noqa: PT012 (until it is noticed)
            while time.monotonic() < deadline:
                lock.check()
    assert storage.exists(FILE)  # it is the other's


def test_rubbish_in_the_lock_s_place_is_nobody_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.dataset.lock.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("pipelines.dataset.lock._POLL_SECONDS", 0.01)
    storage = Storage.open(tmp_path)
    storage.write_bytes(FILE, b"\x00 no lock")
    with RunLock(storage):
        pass


def test_a_job_fails_fast_at_its_start(tmp_path: Path) -> None:
    """The lock is the first that a job asks of its storage: a wrong endpoint must not take a quarter of an hour."""
    assert Storage.open(tmp_path).patience_seconds >= 600
    assert RunLock(Storage.open(tmp_path))._output.patience_seconds <= 30
