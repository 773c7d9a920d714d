"""What many tests share: tiny real models on disk, a local Ray, an S3 server, a config to vary."""

from __future__ import annotations

import os

# Before numpy and torch are loaded, and for the processes that tests start. On toy matrices threads only wait for each
# other, and the worse the more processes there are: on two cores an eigenvalue problem of TORA takes 70 ms of them
# instead of 0.5 ms, an image of a toy model 0.5 to 3 s instead of 0.1 s. `user_env` is a user's environment.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from models import chat
from pipelines.config.load import build as build_run
from pipelines.config.run import RunConfig
from pipelines.dataset.storage import Storage
from tests.support import job, tiny
from tests.support.language_model import KEY, started
from tests.support.vision_model import Vision

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# An example may wait for a processor that other tests have: how long it takes says nothing of the code.
hypothesis.settings.register_profile("any time", deadline=None)
hypothesis.settings.load_profile("any time")

Configure = Callable[..., RunConfig]
ROOT = Path(__file__).parents[1]
PROMPTS = ROOT.parent / "shared" / "data" / "prompts"
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a random-weight `StableDiffusion3Pipeline` that draws 16 x 16 images in milliseconds."""
    return tiny.save_pipeline(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a random-weight open_clip model in a local folder."""
    return f"local-dir:{tiny.save_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: str, tiny_clip: str) -> Path:
    """Output folder of a run of `job.PLAIN` that nobody disturbed; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job.write_job(folder, tiny_pipeline, tiny_clip, job.PLAIN)
    assert job.run_inline(folder).complete
    return folder / "out"


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One small Ray for all tests that need one."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=128 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium. Not for longer: while it runs, the thread has an event loop."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
        yield started
        started.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server on loopback; yields its endpoint. Keys: `tester` and `secret`; bucket: `bucket`."""
    root = tmp_path_factory.mktemp("s3")
    (root / "bucket").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["rclone", "serve", "s3", "--auth-key", "tester,secret", "--addr", f"127.0.0.1:{port}", str(root)]
    server = subprocess.Popen(
        [tiny.tool(command[0]), *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def user_env() -> dict[str, str]:
    """Of a process that is to run as a user's: with as many threads as it likes."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "the S3 server ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the S3 server does not answer")


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """An empty folder in the bucket, with the environment of someone who may use it."""
    import s3fs

    for name, value in {
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield Storage.open(f"s3://bucket/{os.urandom(6).hex()}")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vision]:
    """A vision-language model behind an endpoint whose key is in VLM_KEY; who asks it again waits a moment only."""
    monkeypatch.setattr(chat, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("VLM_KEY", KEY)
    with started(Vision()) as model:
        yield model


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """A valid config for two prompts in tmp_path; keyword arguments replace whole tables."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red square\na purple star\n")
    return partial(build, run={"output": str(tmp_path / "out")}, prompts={"path": str(prompts)})


def build(**tables_of: Any) -> RunConfig:
    """A config of these tables, and of a model and a scorer by name where none are given."""
    table: dict[str, Any] = {"model": {"path": "owner/model"}, "scoring": {"model": "ViT-B-32"}, **tables_of}
    return build_run(table, file="test.toml")
