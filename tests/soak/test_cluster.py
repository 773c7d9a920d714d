"""The commands of infra/README.md on this machine, in a namespace of their own: Ray's usual ports are free there, and
`ray stop` ends nothing else. On a fresh home folder, and on one where Ray has left a token.

Ray gives up on a node that takes more than 30 seconds to start, so the machine must not be busy with much else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.support.docs import BLOCK, INFRA

ALONE = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--mount", "--fork", "--mount-proc"]
LONG = 540

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
        reason="this system lets an ordinary process make no namespaces",
    ),
]


@pytest.fixture
def config(tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> Path:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a dot\na red star\n")
    toml = tmp_path / "run.toml"
    toml.write_text(f"""
        run = {{output = "{tmp_path}/out"}}
        prompts = {{path = "{prompts}"}}
        model = {{path = "{tiny_pipeline}", dtype = "float32", device = "cpu"}}
        scoring = {{model = "{tiny_clip}"}}
        sampling = {{steps = 2, width = 16, height = 16, max_sequence_length = 4}}
        group = {{size = 2}}
        output = {{groups_per_shard = 1}}
        ray = {{cpus_per_generator = 0.5}}
    """)
    return toml


def commands(config: Path, output: Path) -> list[str]:
    """The tested block, with a small job in the place of the demo."""
    ((_, _, body),) = (found for found in BLOCK.findall(INFRA) if found[0] == "test")
    for old, new in (("jobs/configs/demo.toml", config), ("$PWD/out/demo", output)):
        assert str(old) in body
        body = body.replace(old, str(new))
    return [line for line in body.splitlines() if line]


def run(lines: list[str], home: Path) -> str:
    """Run shell lines alone on a machine of our own; returns what they printed. The first that fails ends it."""
    script = "\n".join(
        ["set -euo pipefail", "ip link set lo up", "mkdir -p /tmp/ray", "mount -t tmpfs none /tmp/ray", *lines]
    )
    keep = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"])
    done = subprocess.run(
        [*ALONE, "bash", "-c", script],
        cwd=ROOT,
        env={
            **keep,
            "HOME": str(home),
            "PATH": path,
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_a_job_from_the_page_on_a_fresh_home(config: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    shown = run(commands(config, tmp_path / "made"), tmp_path / "home")
    assert "succeeded" in shown
    assert pq.read_table(tmp_path / "made" / "data").num_rows == 4


def test_a_stopped_job_ends_cleanly_on_a_home_with_a_token(config: Path, tmp_path: Path) -> None:
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("0123456789abcdef" * 4)
    *start, submit, stop = commands(config, tmp_path / "made")
    endless = submit.replace("ray job submit", "ray job submit --no-wait --submission-id endless")
    wait = "for i in $(seq 300); do {} && break; sleep 1; done"
    shown = run(
        [
            *start,
            f"{endless} --set sampling.steps=1000 --set group.size=64",
            wait.format(f"test -e {tmp_path}/made/plan"),
            "ray job stop endless",
            "ray job status endless",
            # The same token that refuses others.
            "! RAY_AUTH_MODE=disabled ray job list 2>&1 | grep -v AuthenticationError | grep -q endless",
            stop,
        ],
        tmp_path / "home",
    )
    assert "was stopped" in shown
    assert token.read_text().startswith("0123")  # taken as it was
    assert not list((tmp_path / "made").glob("data/*"))  # nothing half-done counts as done
