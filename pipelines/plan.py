"""The plan: all groups of a run, written as Parquet before any model runs, and read back one shard at a time.

`plan/plan-PPPPPP.parquet` holds `SHARDS_PER_PART` shards, one row group each, so a worker reads its own shard and a
short footer only. Rows are prompt by prompt, and the groups of a prompt lie together in one shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.seeds import image_seed
from models.spec import Group, RepulsionConfig, Sampling, ToraConfig
from pipelines import prompts as prompt_rows
from pipelines import schema
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.plan_files import SHARDS_PER_PART, FailureWriter, PartWriter, part_name
from pipelines.prompts import BadPrompt, Dropped, PromptRow
from pipelines.storage import Storage

_PROMPTS_PER_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class PlanCounts:
    """What a plan holds. prompts: the good ones; bad_prompts: rows of failed/prompts.parquet; dropped: repeats."""

    prompts: int
    bad_prompts: int
    dropped: int
    groups: int
    images: int
    shards: int


def prompts_per_shard(config: RunConfig) -> int:
    """Whole prompts only, so that the arms of a prompt can be compared within one file."""
    return max(1, config.output.groups_per_shard // groups_per_prompt(config))


def groups_per_prompt(config: RunConfig) -> int:
    return len(config.arms) * config.group.groups_per_prompt


def write(config: RunConfig, output: Storage) -> PlanCounts:
    """Write the plan and failed/prompts.parquet, streaming; the same prompts and config give the same bytes."""
    tally = _Tally()
    with PartWriter(output) as parts, FailureWriter(output) as failures:
        good = tally.good_prompts(prompt_rows.read(config.prompts), failures)
        per_shard = prompts_per_shard(config)
        per_chunk = per_shard * max(1, _PROMPTS_PER_CHUNK // per_shard)
        while chunk := list(islice(good, per_chunk)):
            parts.write(_group_table(config, chunk), groups_per_shard=per_shard * groups_per_prompt(config))
    if not tally.prompts:
        raise UserError(f"no usable prompt in {', '.join(config.prompts.paths)}; the reasons: {failures.summary}")
    return _counts(config, tally)


def count(config: RunConfig) -> PlanCounts:
    """What `write` would write, without writing: every prompt is read and checked."""
    tally = _Tally()
    for _ in tally.good_prompts(prompt_rows.read(config.prompts), None):
        pass
    return _counts(config, tally)


def read_shard(output: Storage, shard: int) -> pa.Table:
    """The groups of one shard, with the columns of `schema.PLAN`."""
    part, row_group = divmod(shard, SHARDS_PER_PART)
    with output.open_input(part_name(part)) as file:
        table = pq.ParquetFile(file).read_row_group(row_group)
    if set(table["shard"].to_pylist()) != {shard}:
        raise ValueError(f"{output.path(part_name(part))}: row group {row_group} does not hold shard {shard}")
    return table


def groups_of(table: pa.Table) -> list[Group]:
    """The rows of a plan as the model's input, in order."""
    return [
        Group(
            prompt=row["prompt"],
            seeds=tuple(row["group_seeds"]),
            sampling=Sampling(
                steps=row["steps"],
                guidance_scale=row["guidance_scale"],
                width=row["width"],
                height=row["height"],
                negative_prompt=row["negative_prompt"],
                max_sequence_length=row["max_sequence_length"],
                frames=row["frames"],
            ),
            tora=None if row["tora"] is None else ToraConfig(**_tuples(row["tora"])),
            repulsion=None if row["repulsion"] is None else RepulsionConfig(**_tuples(row["repulsion"])),
        )
        for row in table.to_pylist()
    ]


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def _group_table(config: RunConfig, prompts: list[PromptRow]) -> pa.Table:
    """All groups of some prompts: prompt-major, then group index, then arm."""
    repeats, size, arms = config.group.groups_per_prompt, config.group.size, len(config.arms)
    ids, texts, concepts, rarities, counterfactuals, _ = zip(*prompts, strict=True)
    seeds_NS = np.array(
        [[image_seed(config.run.seed, prompt_id, index) for index in range(repeats * size)] for prompt_id in ids],
        dtype=np.int64,
    )
    seeds_GS = np.repeat(seeds_NS.reshape(-1, size), arms, axis=0)
    prompt_G = np.repeat(np.arange(len(prompts)), repeats * arms)
    arm_G = np.tile(np.arange(arms), len(prompts) * repeats)
    of_prompt = pa.table(
        {
            "prompt_id": pa.array(ids, pa.string()),
            "prompt": pa.array(texts, pa.string()),
            "concept": pa.array(concepts, pa.string()),
            "rarity": pa.array(rarities, pa.string()),
            "counterfactual": pa.array(counterfactuals, pa.string()),
        }
    ).take(prompt_G)
    columns = {
        **dict(zip(of_prompt.column_names, of_prompt.columns, strict=True)),
        **{name: values.take(arm_G) for name, values in _arm_columns(config).items()},
        "group_id": pa.array(_group_ids(config, prompts, seeds_GS), pa.string()),
        "group_seeds": pa.FixedSizeListArray.from_arrays(pa.array(seeds_GS.ravel()), size),
    }
    fields = schema.PLAN.remove(0)
    return pa.table({name: columns[name] for name in fields.names}).cast(fields)


def _arm_columns(config: RunConfig) -> dict[str, pa.Array[Any]]:
    """The columns that depend on the arm alone, one value per arm."""
    tora, repulsion = asdict(config.tora), asdict(config.repulsion)
    values: dict[str, list[Any]] = {
        "arm": [arm.name for arm in config.arms],
        "tora": [tora if arm.tora else None for arm in config.arms],
        "repulsion": [repulsion if arm.repulsion else None for arm in config.arms],
        **{name: [value] * len(config.arms) for name, value in asdict(config.sampling).items()},
    }
    return {name: pa.array(column, schema.PLAN.field(name).type) for name, column in values.items()}


def _group_ids(config: RunConfig, prompts: list[PromptRow], seeds_GS: np.ndarray[Any, Any]) -> Iterator[str]:
    """16 hex digits over everything that changes a group's pixels, and its prompt_id."""
    started = []
    for arm in config.arms:
        made_with = {
            "schema": schema.VERSION,
            "model": [config.model.path, config.model.revision, config.model.dtype],
            "sampling": asdict(config.sampling),
            "arm": arm.name,
            "tora": asdict(config.tora) if arm.tora else None,
            "repulsion": asdict(config.repulsion) if arm.repulsion else None,
        }
        started.append(hashlib.blake2b(json.dumps(made_with, sort_keys=True).encode(), digest_size=8))
    seeds = iter(seeds_GS.astype("<i8", copy=False))
    for prompt in prompts:
        text = f"\0{prompt.prompt_id}\0{prompt.prompt}\0".encode()
        for _ in range(config.group.groups_per_prompt):
            for start in started:
                digest = start.copy()
                digest.update(text)
                digest.update(next(seeds).tobytes())
                yield digest.hexdigest()


class _Tally:
    def __init__(self) -> None:
        self.prompts = self.bad = self.dropped = 0

    def good_prompts(
        self, rows: Iterable[PromptRow | BadPrompt | Dropped], failures: FailureWriter | None
    ) -> Iterator[PromptRow]:
        for row in rows:
            if isinstance(row, PromptRow):
                self.prompts += 1
                yield row
            elif isinstance(row, BadPrompt):
                self.bad += 1
                if failures is not None:
                    failures.add(row)
            else:
                self.dropped += 1


def _counts(config: RunConfig, tally: _Tally) -> PlanCounts:
    groups = tally.prompts * groups_per_prompt(config)
    return PlanCounts(
        prompts=tally.prompts,
        bad_prompts=tally.bad,
        dropped=tally.dropped,
        groups=groups,
        images=groups * config.group.size,
        shards=-(-tally.prompts // prompts_per_shard(config)),
    )
