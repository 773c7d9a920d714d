"""Property: whatever is killed, and when, a run ends with the bytes of an undisturbed one.

The driver's own steps (lock, sweep, plan, extension, retry, pending shards, commit of a shard, the end) run here in a
forked process that dies at random moments, many times and without Ray, which would take most of the time.
`test_week.py` kills the real job, less often.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config.fingerprint import fingerprint
from pipelines.config.run import RunConfig
from pipelines.dataset import images, retry, schema
from pipelines.dataset.failures import Failure, failed_rows
from pipelines.dataset.lock import RunLock
from pipelines.dataset.storage import Storage
from pipelines.flows.finish import finish
from pipelines.flows.synth import FOLDERS, _planned, pending_shards
from pipelines.plan.files import read_shard
from pipelines.stages.block import Shard, pack
from pipelines.stages.write import write_shard
from tests.conftest import build
from tests.support.killing import ended

TRIALS = int(os.environ.get("RAYDIANCE_KILL_TRIALS", "25"))
IN_EVERY_RUN = 5
"""Trials; a trial kills about six times. The others are marked soak."""
DIM = 4


def made(config: RunConfig, output: Storage, order: dict[str, Any]) -> pa.Table:
    """A shard as the stages would hand it to the writer: pictures of the seeds. The first time, some groups fail."""
    planned = read_shard(output, order["shard"])
    if order["retry"]:
        planned = retry.only_failed(output, order["shard"], planned)
    good, bad, failure = [], [], Failure(error_type="E", error="e")
    for group in planned.drop_columns(["shard"]).to_pylist():
        lot = hashlib.sha256(group["group_id"].encode()).digest()[0]
        if lot % 3 == 0 and not (order["retry"] and lot % 2):
            bad.append(({name: group[name] for name in ("group_id", "prompt_id", "prompt", "arm")}, failure))
        else:
            good += [_row(config, group, index) for index in range(len(group["group_seeds"]))]
    rows = pa.Table.from_pylist(good, schema.scored(DIM))
    return pack(Shard(shard=order["shard"], retry=order["retry"], images=rows, failed=failed_rows("generate", bad)))


def _row(config: RunConfig, group: dict[str, Any], index: int) -> dict[str, Any]:
    seed = group["group_seeds"][index]
    picture = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return {
        **group,
        "image": {"bytes": images.encode(picture, "png"), "path": f"{seed}.png"},
        "image_id": images.image_id(picture),
        "index_in_group": index,
        "group_size": len(group["group_seeds"]),
        "seed": seed,
        **dict.fromkeys(("model", "model_revision", "family", "dtype", "scheduler", "clip_model"), "x"),
        "displacement": {},
        "model_options": {},
        "fingerprint": fingerprint(config),
        "clip_score": 0.5,
        "rank_in_group": index + 1,
        "group_vendi": 1.0,
        "embedding": np.eye(DIM)[index].astype(np.float16),
        "keep": index > 0,
        "drop_reason": None if index else "rank",
    }


def drive(config: RunConfig, *, retry_failed: bool) -> None:
    """`flow.run` with `made` in the place of Ray."""
    output = Storage.open(config.run.output)
    with RunLock(output):
        for folder in FOLDERS:
            output.sweep(folder)
        counts = _planned(config, output)
        if retry_failed:
            retry.request(output, counts.shard_numbers())
        for order in pending_shards(output, counts):
            write_shard(made(config, output, order), output)
        finish(output)


def driven(config: RunConfig, *, retry_failed: bool, seconds: float) -> bool:
    """Drive in a process of its own and kill it after so many seconds; did it get to the end before?"""
    return ended(partial(drive, config, retry_failed=retry_failed), seconds)


def files_of(folder: Path) -> dict[str, Any]:
    """Every file of a run: its bytes where equal runs must have equal ones."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if name.startswith("failed/shard"):  # who is killed and asks for a retry again adds attempts
            found[name] = pq.read_table(path).drop_columns(["attempts"])
        else:
            found[name] = path.read_bytes() if path.suffix == ".parquet" else None
    return found


def stages(folder: Path) -> list[tuple[RunConfig, bool]]:
    """A run, a retry of what failed, and a larger run: (config, retry_failed)."""
    first, more = folder / "first.txt", folder / "more.txt"
    first.write_text("".join(f"prompt {number}\n" for number in range(12)))
    more.write_text("".join(f"prompt {number}\n" for number in range(16)))

    def config(prompts: Path, groups: int) -> RunConfig:
        return build(
            run={"output": str(folder / "out")},
            prompts={"path": str(prompts)},
            group={"size": 3, "groups_per_prompt": groups},
            output={"groups_per_shard": 3},
        )

    return [(config(first, 1), False), (config(first, 1), True), (config(more, 2), False)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """The files of a run that nobody disturbed, and how long its longest stage took in seconds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    longest = 0.0
    for config, retry_failed in stages(folder):
        started = time.monotonic()
        drive(config, retry_failed=retry_failed)
        longest = max(longest, time.monotonic() - started)
    manifest = json.loads((folder / "out" / "manifest.json").read_bytes())
    assert manifest["complete"]
    assert manifest["totals"]["groups_failed"] > 0
    return files_of(folder / "out"), longest


def test_a_retry_that_is_written_twice_is_written_once(tmp_path: Path) -> None:
    (config, _), *_ = stages(tmp_path)
    drive(config, retry_failed=False)
    output = Storage.open(config.run.output)
    counts = _planned(config, output)
    retry.request(output, counts.shard_numbers())
    order, *others = pending_shards(output, counts)
    assert order["retry"]
    block = made(config, output, order)
    write_shard(block, output)
    once = files_of(tmp_path / "out")
    write_shard(block, output)
    assert files_of(tmp_path / "out") == once
    assert pending_shards(output, counts) == others
    assert made(config, output, order).num_rows == 1  # nothing is asked for any more, which is no error


@pytest.mark.parametrize(
    "trial",
    [pytest.param(trial, marks=[pytest.mark.soak] if trial >= IN_EVERY_RUN else []) for trial in range(TRIALS)],
)
def test_killed_at_random(trial: int, tmp_path: Path, undisturbed: tuple[dict[str, Any], float]) -> None:
    expected, longest = undisturbed
    dice = random.Random(trial)
    for config, asked in stages(tmp_path):
        while not driven(config, retry_failed=asked, seconds=dice.uniform(0.0, 1.5) * longest):
            pass
    assert files_of(tmp_path / "out") == expected
    assert json.loads((tmp_path / "out" / "manifest.json").read_bytes())["complete"]
