"""What goes wrong with Ray is one sentence with what to do; what goes wrong in workers' code keeps its traceback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.utils import check_version_info
from ray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    NodeDiedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from pipelines import console
from pipelines.cluster import bars, connect, trouble
from pipelines.cluster.address import Address
from pipelines.cluster.progress import RemoteProgress
from pipelines.dataset.progress_json import ProgressFile
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

HEAD = Address(setting="ray.address", value="10.0.0.1:6379")


def another_version() -> Exception:
    try:
        check_version_info({"ray_version": "2.50.0", "python_version": "3.10.1"}, "node 10.0.0.2")
    except RuntimeError as error:
        return error
    raise AssertionError


def no_node() -> Exception:
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError(
        "No node info found matching attributes: '' when trying to resolve node to connect to."
    )
    return error


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (another_version(), ["Ray: 2.50.0 Python: 3.10.1", "constraints.txt"]),
        (no_node(), ["No node info", "`ray start --address=HOST:PORT`", "`ray job submit`"]),
        (RuntimeEnvSetupError("Failed to upload working_dir . to the Ray cluster:\n[Errno 13] x"), ["[Errno 13] x"]),
        (TimeoutError("no\nanswer"), ["TimeoutError: no answer"]),
        (ValueError("a\tvalue"), ["ValueError: a value"]),
        (Exception("x" * 5000), ["Exception: xxx", " ..."]),
    ],
)
def test_a_cluster_that_cannot_be_joined(
    raised: Exception, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def init(**_: Any) -> None:
        raise raised

    monkeypatch.setattr(connect, "reach", lambda _: None)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError) as told:
        connect.join(HEAD)
    message = str(told.value)
    assert message.startswith("ray.address = '10.0.0.1:6379': cannot join this Ray cluster: ")
    assert "\n" not in message
    assert len(message) < 1000
    for word in words:
        assert word in message
    with pytest.raises(UserError, match=r"Ray does not start on this machine: .*ray.object_store_mb = 128"):
        connect.start(128)
    assert "joining the Ray cluster at 10.0.0.1:6379" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OutOfDiskError("the disk\nis full"), "Free space"),
        (ObjectStoreFullError(), "ray.object_store_mb"),
        (OutOfMemoryError("killed"), "ray.generators"),  # type: ignore[no-untyped-call]
        (NodeDiedError("gone"), "goes on"),  # type: ignore[no-untyped-call]
        (GetTimeoutError("late"), "goes on"),
        (ActorDiedError(), "goes on"),
    ],
)
def test_an_error_of_ray_ends_a_job_in_a_sentence(
    error: Exception, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> int:
        raise error

    assert console.guarded(job) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: Ray: {type(error).__name__}: ")
    assert message.count("\n") == 1
    assert advice in message
    assert "The same command goes on" in message


def test_an_error_of_a_worker_s_code_keeps_its_traceback() -> None:
    task = RayTaskError("f", "traceback", ValueError("ours"))  # type: ignore[no-untyped-call]
    for error in (task, task.as_instanceof_cause(), ActorDiedError(task), ValueError("ours")):  # type: ignore[no-untyped-call]
        assert trouble.sentence(error) is None


def test_a_cluster_that_is_lost_is_said_before_ray_ends_the_process(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the head is gone for a minute, Ray's C++ exits at once: nothing could be said then."""
    monkeypatch.setattr(bars, "_every", lambda: 0.05)
    file = ProgressFile(Storage.open(str(tmp_path)), images=4, done=0, workers={})
    with file.session(), bars.followed(file) as progress:
        assert isinstance(progress, RemoteProgress)
        ray.kill(progress.actor)
        told, deadline = "", time.monotonic() + 30
        while "does not answer" not in told and time.monotonic() < deadline:
            time.sleep(0.05)
            told += capfd.readouterr().err
    assert told.count("The Ray cluster does not answer") == 1
    assert "the\nsame command goes on" in told
