"""A small job on tiny models, to run in this process or as a command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from jobs.synth import main
from pipelines.cluster.executor import Stage, check_chain
from pipelines.cluster.progress import Tracker
from pipelines.config.load import load
from pipelines.config.run import RunConfig
from pipelines.dataset import retry
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.run_json import PlanCounts
from pipelines.dataset.storage import Storage
from pipelines.flows import preflight
from pipelines.flows.fill import fill
from pipelines.flows.finish import Summary, finish
from pipelines.flows.synth import _planned, pending_shards, stages
from pipelines.stages.block import pack, unpack

Synth = Callable[..., int]
T = TypeVar("T")
R = TypeVar("R")

PROMPT_LINES = [
    {"prompt": "a red square", "rarity": "common"},
    {"prompt": "a star <b>", "rarity": "rare", "counterfactual": "a sun"},
    {"prompt": "x" * 40, "rarity": "rare"},  # longer than the tiny text encoder reads
    {"prompt": ""},
    {"prompt": "a dot"},
]

WORDS = ("a red square", "a star", "a dot", "a sun", "a blue moon", "two rings", "a heart", "a drop")
PLAIN = [{"prompt": word} for word in WORDS]
QUOTAS = ("arms=[{name='stock'}]", "quota={accepted=12, per='prompt', most_groups=8, distinct_similarity=0.999999}")
"""Settings that fill quotas of each prompt, in several rounds."""


def write_job(folder: Path, pipeline: str, clip: str, lines: Sequence[Any] = PROMPT_LINES) -> Synth:
    """Write a config and prompts into `folder`; the result runs the job in this process, its output in `folder/out`."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    toml = folder / "run.toml"
    toml.write_text(f"""
        run = {{output = "{folder}/out", name = "Toy", seed = 1}}
        prompts = {{path = "{prompts}"}}
        model = {{path = "{pipeline}", dtype = "float32"}}
        scoring = {{model = "{clip}"}}
        sampling = {{steps = 2, guidance_scale = 4.0, width = 16, height = 16, max_sequence_length = 16}}
        group = {{size = 3, groups_per_batch = 2}}
        repulsion = {{inner_steps = 2}}
        output = {{groups_per_shard = 2}}
        arms = [{{name = "stock"}}, {{name = "both", tora = true, repulsion = true}}]
    """)

    def run(*overrides: str, flags: Sequence[str] = ()) -> int:
        settings = [word for override in overrides for word in ("--set", override)]
        return main(["--config", str(toml), *settings, *flags])

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything that must be the same in equal runs: all but the report (its timings) and what shows them."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet")) if path.is_file()
    }


def rows(folder: Path, columns: str = "*") -> list[Any]:
    found = duckdb.connect().execute(f"select {columns} from '{folder}/*.parquet' order by all")
    return found.fetchall()


def complete(out: Path) -> bool:
    return bool(json.loads((out / "manifest.json").read_bytes())["complete"])


def run_inline(folder: Path, *overrides: str, retry_failed: bool = False) -> Summary:
    """The job of `write_job` with its real stages, called one after the other in this process: without Ray, whose start
    and whose workers' start take most of the time of a small run."""
    settings = preflight.check(load(folder / "run.toml", overrides))
    output = Storage.open(settings.run.output)
    if settings.quota:
        fill(settings, output, InlineMaker(settings, output), retry_failed=retry_failed)
        return finish(output)
    counts = _planned(settings, output)
    if retry_failed:
        retry.request(output, counts.shard_numbers())
    make_inline(pending_shards(output, counts), stages(settings, output, Tracker()))
    return finish(output)


@dataclass(frozen=True)
class InlineMaker:
    """A `pipelines.flows.fill.Maker` in this process."""

    settings: RunConfig
    output: Storage

    def make(self, counts: PlanCounts, quotas: Quotas | None = None) -> None:
        make_inline(pending_shards(self.output, counts), stages(self.settings, self.output, Tracker()))

    def map_shards(self, function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
        return map(function, items)


def make_inline(requests: Iterable[dict[str, Any]], through: Sequence[Stage]) -> list[dict[str, Any]]:
    """`executor.Chain.make` in this process. A stage gets no columns but those that it says it reads, and gives those
    that it says it writes."""
    actors = [(stage, stage.kind(**stage.arguments)) for stage in through]
    rows: list[dict[str, Any]] = []
    for request in requests:
        check_chain(request, through)
        block = pa.table({name: [value] for name, value in request.items()})
        for stage, actor in actors:
            block = actor(_only(block, stage.reads))
            assert _columns(block) == set(stage.writes), stage.kind
        rows += block.to_pylist()
    return rows


def _columns(block: pa.Table) -> set[str]:
    """Named as in `executor.Columns`."""
    if not pa.types.is_large_list(block.schema.field("images").type):
        return set(block.column_names)
    images = {f"images.{name}" for name in unpack(block).images.column_names}
    return {*block.column_names, *images} - {"images"}


def _only(block: pa.Table, columns: Iterable[str]) -> pa.Table:
    images = [name.removeprefix("images.") for name in columns if name.startswith("images.")]
    if not images:
        return block.select(list(columns))
    shard = unpack(block)
    return pack(replace(shard, images=shard.images.select(images)))
