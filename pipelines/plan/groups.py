"""Makes the rows of a plan from prompts and a config, and the model's input from rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pyarrow as pa

from models.interventions.registry import entry_of, find
from models.seeds import image_seed
from models.spec import Group, InterventionConfig, Lora, Sampling
from pipelines.config.arms import Arm, column_names, loras_of
from pipelines.config.run import RunConfig, identity, without_later_defaults
from pipelines.dataset import schema
from pipelines.prompts.rows import PromptRow

_RECIPE = 2
"""Version of the recipe of ids: another gives all groups other ids, even where their pixels are the same."""


def group_table(config: RunConfig, prompts: list[PromptRow]) -> pa.Table:
    """All groups of some prompts, with the columns of `schema.group_columns`: prompt-major, then group index, then arm.

    config: the run.
    prompts: one or more.
    """
    repeats, size, arms = config.group.groups_per_prompt, config.group.size, len(config.arms)
    ids, texts, concepts, rarities, counterfactuals, _, changes = zip(*prompts, strict=True)
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
            "prompt_changes": pa.array(changes, pa.list_(pa.string())),
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
    target = schema.group_columns(column_names(config.arms))
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def _arm_columns(config: RunConfig) -> dict[str, pa.Array[Any]]:
    """The columns that depend on the arm alone, one value per arm."""
    acting = [_settings(arm) for arm in config.arms]
    names = column_names(config.arms)
    values: dict[str, list[Any]] = {
        "arm": [arm.name for arm in config.arms],
        "loras": [_loras(arm, config) for arm in config.arms],
        **{name: [settings.get(name) for settings in acting] for name in names},
        **{name: [value] * len(config.arms) for name, value in asdict(config.sampling).items()},
    }
    target = schema.group_columns(names)
    return {name: pa.array(column, target.field(name).type) for name, column in values.items()}


def _settings(arm: Arm) -> dict[str, dict[str, Any]]:
    """The interventions of an arm: name -> settings."""
    return {entry_of(config).name: asdict(config) for config in arm.interventions}


def _loras(arm: Arm, config: RunConfig) -> list[dict[str, Any]]:
    return [asdict(lora) for lora in loras_of(arm, config.model)]


def _group_ids(config: RunConfig, prompts: list[PromptRow], seeds_GS: np.ndarray[Any, Any]) -> Iterator[str]:
    """A hash of everything that changes a group's pixels, and of its prompt_id: 16 hex digits."""
    started, model = [], identity(config.to_dict())["model"]
    for arm in config.arms:
        made_with = {
            "schema": _RECIPE,
            "model": model,
            "sampling": asdict(config.sampling),
            "arm": arm.name,
            **({"loras": _loras(arm, config)} if config.model.loras else {}),
            **dict.fromkeys(schema.in_every_row()),
            **_settings(arm),
        }
        text = json.dumps(without_later_defaults(made_with), sort_keys=True)
        started.append(hashlib.blake2b(text.encode(), digest_size=8))
    seeds = iter(seeds_GS.astype("<i8", copy=False))
    for prompt in prompts:
        of_prompt = f"\0{prompt.prompt_id}\0{prompt.prompt}\0".encode()
        for _ in range(config.group.groups_per_prompt):
            for start in started:
                digest = start.copy()
                digest.update(of_prompt)
                digest.update(next(seeds).tobytes())
                yield digest.hexdigest()


def groups_of(table: pa.Table) -> list[Group]:
    """The model's input for rows, in order.

    table: rows of a plan or of images.
    """
    names = schema.interventions_in(table.column_names)
    sampling = [field.name for field in fields(Sampling)]
    loras = ["loras"] if "loras" in table.column_names else []  # version 2 of the row contract has none
    return [
        Group(
            prompt=row["prompt"],
            seeds=tuple(row["group_seeds"]),
            sampling=Sampling(**{name: row[name] for name in sampling}),
            interventions=tuple(_config(name, row[name]) for name in names if row[name] is not None),
            loras=tuple(Lora(**lora) for lora in row.get("loras", ())),
        )
        for row in table.select(["prompt", "group_seeds", *loras, *sampling, *names]).to_pylist()
    ]


def _config(name: str, settings: dict[str, Any]) -> InterventionConfig:
    entry = find(name)
    assert entry is not None
    return entry.config(**{key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()})
