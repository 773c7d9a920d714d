"""What a job that is left alone meets, with Ray and all: deaths, kills, a flaky store; all rows end undisturbed.

`test_inline.py` has what needs no Ray."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.cluster.crashes import GIVEN_UP_AFTER
from pipelines.dataset.storage import Storage
from tests.conftest import ROOT
from tests.support.faults import DyingGenerateShard
from tests.support.flaky import flaky_proxy
from tests.support.job import PLAIN, QUOTAS, complete, files_of, rows, run_inline, write_job

pytestmark = pytest.mark.soak


def test_workers_that_die_cost_a_restart_and_what_kills_them_is_given_up(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Ray Data: one call finds its GPU lost, and one group kills its worker whenever it is made."""
    synth = write_job(tmp_path, tiny_pipeline, tiny_clip, [{"prompt": "a dot"}, {"prompt": "dies"}])
    monkeypatch.setattr("pipelines.flows.synth.GenerateShard", DyingGenerateShard)
    assert synth("arms=[{name='stock'}]") == 0
    out = tmp_path / "out"
    assert complete(out)
    assert (tmp_path / "device-was-lost").exists()
    assert rows(out / "failed", "prompt, error_type, attempts") == [("dies", "WorkerDied", GIVEN_UP_AFTER)]
    assert {prompt for (prompt,) in rows(out / "data", "prompt")} == {"a dot"}
    progress = json.loads((out / "progress.json").read_bytes())
    assert (progress["state"], progress["images"], progress["images_done"]) == ("finished", 6, 6)
    assert progress["failed_groups_this_session"] == {"WorkerDied": 1}


class Job:
    """The job as a user starts it: a command with a Ray of its own."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.out = folder / "out"
        command = [sys.executable, "jobs/synth.py", "--config", str(folder / "run.toml")]
        command += [word for override in overrides for word in ("--set", override)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def workers(self, name: str) -> list[int]:
        """Process ids of this job's Ray workers whose title has `name` in it."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _session(entry) == self.process.pid:
                with suppress(OSError):  # it may end while we look
                    title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if name in title:
                        found.append(int(entry.name))
        return found

    def wait_for(self, pattern: str, count: int = 1) -> None:
        """Until this many files match, or the job ends."""
        deadline = time.monotonic() + 150
        while len(list(self.out.glob(pattern))) < count and self.process.poll() is None:
            assert time.monotonic() < deadline, f"no {count} x {pattern}"
            time.sleep(0.05)


def _session(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return -1


def kill_everything(job: Job) -> None:
    """What a power cut does: every process of the job's session, which is its whole Ray, at once."""
    for pid in job.workers(""):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def strike(job: Job, how: str) -> None:
    if how == "driver":
        job.process.kill()
    elif how == "cluster":
        kill_everything(job)
    elif how == "terminate":
        job.process.terminate()
    else:
        for pid in job.workers(how):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["driver", "cluster", "terminate", "ray::MapWorker"])
def test_kills_change_nothing(how: str, tmp_path: Path, tiny_pipeline: str, tiny_clip: str, undisturbed: Path) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN)
    dice = random.Random(how)
    job = Job(tmp_path)
    job.wait_for("data/shard-*", dice.choice((1, 2)))
    strike(job, how)
    if how.startswith("ray::"):  # the driver lives, and Ray starts its workers anew
        assert job.process.wait(170) == 0, job.process.stderr and job.process.stderr.read()
    else:
        status = job.process.wait(60)
        assert status == {"terminate": 143}.get(how, -signal.SIGKILL)
        if how == "terminate":
            assert not (tmp_path / "out" / "run.lock").exists()
        kill_everything(job)  # what a container's end would do
        again = Job(tmp_path)
        assert again.process.wait(170) == 0, again.process.stderr and again.process.stderr.read()
    assert files_of(tmp_path / "out") == files_of(undisturbed)
    assert complete(tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".*.tmp"))
    sessions = json.loads((tmp_path / "out" / "report.json").read_bytes())["timings"]["sessions"]
    assert sessions == (1 if how.startswith("ray::") else 2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["cluster", "ray::MapWorker"])
def test_kills_in_any_round_change_nothing(how: str, tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    settings = (*QUOTAS, "quota.accepted=24", "quota.most_groups=16")
    job = Job(tmp_path, *settings)
    for shards in (1, 3, 5):
        job.wait_for("data/shard-*", shards)
        assert job.process.poll() is None, job.process.stderr and job.process.stderr.read()
        strike(job, how)
        if how == "cluster":
            job.process.wait(60)
            job = Job(tmp_path, *settings)
    assert job.process.wait(170) == 0, job.process.stderr and job.process.stderr.read()
    made = files_of(tmp_path / "out")
    job.out.rename(tmp_path / "disturbed")
    assert run_inline(tmp_path, *settings).complete
    assert files_of(tmp_path / "out") == made


@pytest.mark.skipif("RAYDIANCE_SOAK_TRIALS" not in os.environ, reason="long: set RAYDIANCE_SOAK_TRIALS to a number")
@pytest.mark.timeout(0)
def test_soak(tmp_path: Path, tiny_pipeline: str, tiny_clip: str, undisturbed: Path) -> None:
    """Each trial starts a run, and kills a part of it at a random moment until it ends undisturbed."""
    for trial in range(int(os.environ["RAYDIANCE_SOAK_TRIALS"])):
        dice = random.Random(trial)
        folder = tmp_path / str(trial)
        folder.mkdir()
        write_job(folder, tiny_pipeline, tiny_clip, PLAIN)
        status = None
        while status != 0:
            job = Job(folder)
            how = dice.choice(("driver", "cluster", "terminate", "GenerateShard", "ScoreShard", "WriteShard", "raylet"))
            try:
                # Mostly within the seconds that such a run takes; on a slow machine some attempts must get further.
                status = job.process.wait(60.0 * dice.random() ** 2)
            except subprocess.TimeoutExpired:
                strike(job, how)
                status = job.process.wait(300)
            kill_everything(job)
        assert files_of(folder / "out") == files_of(undisturbed), trial


def test_flaky_s3_loses_nothing(
    s3: Storage, tmp_path: Path, tiny_pipeline: str, tiny_clip: str, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of all requests fails, the driver's and the workers', from the lock to the gallery."""
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN)
    with (
        flaky_proxy(os.environ["AWS_ENDPOINT_URL"], share=0.1, stall_seconds=2.0) as proxy,
        monkeypatch.context() as env,
    ):
        env.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        job = Job(tmp_path, f"run.output={s3.uri}/out")
        assert job.process.wait(170) == 0, job.process.stderr and job.process.stderr.read()
        assert proxy.injected.total() > 5
    remote = Storage.open(f"{s3.uri}/out")
    assert json.loads(remote.read_bytes("manifest.json"))["complete"]
    assert {f"data/{name}" for name in remote.list("data")} == {
        n for n in files_of(undisturbed) if n.startswith("data/")
    }
    for name, content in files_of(undisturbed).items():
        assert remote.read_bytes(name) == content
    assert b"<html" in remote.read_bytes("gallery.html")
