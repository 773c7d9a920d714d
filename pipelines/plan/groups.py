"""Makes the rows of a plan from prompts and a config, and the model's input from rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.interventions.registry import entry_of, find
from models.seeds import image_seed
from models.spec import Group, InterventionConfig, Lora, Sampling
from pipelines.config.arms import Arm, column_names, loras_of
from pipelines.config.fingerprint import identity, without_later_defaults
from pipelines.config.run import RunConfig
from pipelines.dataset import schema
from pipelines.dataset.prompt_columns import (
    DENOISING_STRENGTH,
    PICTURE_FIELDS,
    SOURCE_IMAGES,
    SOURCE_MASK,
    TARGET_CAPTION,
)
from pipelines.dataset.setting_columns import in_every_row, interventions_in
from pipelines.dataset.sources import Sources
from pipelines.plan.buckets import Bucket, bucket_of
from pipelines.plan.variants import Variant, Variants
from pipelines.prompts.rows import PromptRow

Int64s = NDArray[np.int64]

_RECIPE = 2
"""Version of the recipe of ids: another gives all groups other ids, even where their pixels are the same."""


class Draw(NamedTuple):
    """A group of a prompt."""

    arm: int
    """Number of its arm."""
    first: int
    """Number of its first image among those of the prompt: it decides the seeds."""
    images: int
    """How many images it has."""


def group_table(
    variants: Variants, prompts: Sequence[PromptRow], draws_N: Sequence[Sequence[Draw]] | None = None
) -> pa.Table:
    """Groups of some prompts, with the columns of `schema.group_columns`, prompt after prompt.

    variants: of the run.
    prompts: one or more.
    draws_N: the groups of each of them; None for all that the config says, each group in all arms.
    """
    config, arms = variants.config, len(variants.config.arms)
    numbers: dict[Bucket, int] = {}
    variant_N = [numbers.setdefault(bucket_of(one), len(numbers)) for one in prompts]
    made = [variants.of(*one) for one in numbers]
    strength_N = [made[variant].sampling.denoising_strength for variant in variant_N]
    if draws_N is None:
        of_variant = [_all_draws(config, images) for _, images in numbers]
        draws_N = [of_variant[variant] for variant in variant_N]
    seeds_G = _seeds(config, prompts, draws_N)
    ids, texts, concepts, rarities, counterfactuals, _, changes, *_ = zip(*prompts, strict=True)
    prompt_G = np.repeat(np.arange(len(prompts)), [len(draws) for draws in draws_N])
    arm_G = np.array([draw.arm for draws in draws_N for draw in draws])
    of_prompt = pa.table(
        {
            "prompt_id": pa.array(ids, pa.string()),
            "prompt": pa.array(texts, pa.string()),
            "prompt_changes": pa.array(changes, pa.list_(pa.string())),
            "concept": pa.array(concepts, pa.string()),
            "rarity": pa.array(rarities, pa.string()),
            "counterfactual": pa.array(counterfactuals, pa.string()),
            **(_edit_columns(prompts, strength_N) if config.prompts.columns.pictured else {}),
        }
    ).take(prompt_G)
    of_arm = np.array(variant_N)[prompt_G] * arms + arm_G
    columns = {
        **dict(zip(of_prompt.column_names, of_prompt.columns, strict=True)),
        **{name: values.take(of_arm) for name, values in _arm_columns(config, made).items()},
        "group_id": pa.array(_group_ids(config, made, prompts, variant_N, draws_N, seeds_G), pa.string()),
        **{
            one.name: pa.array([prompt.carried[at] for prompt in prompts], one.kind).take(prompt_G)
            for at, one in enumerate(config.carried)
        },
        "group_seeds": _lists(seeds_G),
    }
    target = schema.group_columns(column_names(config.arms), config.more_fields)
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def _edit_columns(prompts: Sequence[PromptRow], strength_N: Sequence[float]) -> dict[str, pa.Array[Any]]:
    edits = [prompt.edit for prompt in prompts]
    values: dict[str, list[Any]] = {
        SOURCE_IMAGES: [edit.sources or None for edit in edits],
        SOURCE_MASK: [edit.mask for edit in edits],
        TARGET_CAPTION: [edit.target for edit in edits],
        DENOISING_STRENGTH: [
            strength if edit.sources else None for edit, strength in zip(edits, strength_N, strict=True)
        ],
    }
    return {field.name: pa.array(values[field.name], field.type) for field in PICTURE_FIELDS}


def _all_draws(config: RunConfig, images: int | None) -> list[Draw]:
    """The groups of a prompt that the config says, each in all arms.

    images: that the prompt's row asks for.
    """
    size, arms = config.group.size, range(len(config.arms))
    count = size * config.group.groups_per_prompt if images is None else images
    return [
        Draw(arm=arm, first=first, images=min(size, count - first)) for first in range(0, count, size) for arm in arms
    ]


def _seeds(config: RunConfig, prompts: Sequence[PromptRow], draws_N: Sequence[Sequence[Draw]]) -> list[Int64s]:
    """The seeds of each group: those of a prompt do not depend on how they are shared out among groups."""
    flat: list[int] = []
    places: list[slice] = []
    for prompt, draws in zip(prompts, draws_N, strict=True):
        before: dict[Draw, slice] = {}
        for draw in draws:
            of_any_arm = draw._replace(arm=0)
            if (place := before.get(of_any_arm)) is None:
                place = before[of_any_arm] = slice(len(flat), len(flat) + draw.images)
                flat += [_seed(config, prompt, index) for index in range(draw.first, draw.first + draw.images)]
            places.append(place)
    all_seeds = np.array(flat, "<i8")
    return [all_seeds[place] for place in places]


def _seed(config: RunConfig, prompt: PromptRow, index: int) -> int:
    own = prompt.settings.seed
    if own is None:
        return image_seed(config.run.seed, prompt.noise or prompt.prompt_id, index)
    return image_seed(own, "", index) if index else own


def _lists(seeds_G: Sequence[Int64s]) -> pa.Array[Any]:
    ends = np.cumsum([0, *map(len, seeds_G)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(np.concatenate(seeds_G), pa.int64()))


def _arm_columns(config: RunConfig, made: Sequence[Variant]) -> dict[str, pa.Array[Any]]:
    """The columns that depend on the variant and the arm alone, one value for each arm of each variant."""
    arms = [arm for variant in made for arm in variant.arms]
    acting = [_settings(arm) for arm in arms]
    names = column_names(config.arms)
    sampling = [arm.sampling.of(variant.sampling).settings(pictures=False) for variant in made for arm in variant.arms]
    names_of_sampling = Sampling.names(pictures=False)
    values: dict[str, list[Any]] = {
        "arm": [arm.name for arm in arms],
        "loras": [_loras(arm, config) for arm in arms],
        **{name: [settings.get(name) for settings in acting] for name in names},
        **{name: [settings.get(name) for settings in sampling] for name in names_of_sampling},
    }
    target = schema.group_columns(names)
    return {name: pa.array(column, target.field(name).type) for name, column in values.items()}


def _settings(arm: Arm) -> dict[str, dict[str, Any]]:
    """The interventions of an arm: name -> settings."""
    return {entry_of(config).name: asdict(config) for config in arm.interventions}


def _loras(arm: Arm, config: RunConfig) -> list[dict[str, Any]]:
    return [asdict(lora) for lora in loras_of(arm, config.model)]


def _group_ids(
    config: RunConfig,
    made: Sequence[Variant],
    prompts: Sequence[PromptRow],
    variant_N: Sequence[int],
    draws_N: Sequence[Sequence[Draw]],
    seeds_G: Sequence[Int64s],
) -> Iterator[str]:
    """A hash of everything that changes a group's pixels, and of its prompt_id: 16 hex digits."""
    model = identity(config.to_dict())["model"]
    started = [[_started(config, model, variant, arm) for arm in variant.arms] for variant in made]
    seeds = iter(seeds_G)
    for prompt, variant, draws in zip(prompts, variant_N, draws_N, strict=True):
        of_prompt = f"\0{prompt.prompt_id}\0{prompt.prompt}\0".encode()
        if prompt.edit.sources:
            strength = made[variant].sampling.denoising_strength
            of_prompt += json.dumps([prompt.edit.sources, prompt.edit.mask, strength]).encode()
        for draw in draws:
            digest = started[variant][draw.arm].copy()
            digest.update(of_prompt)
            digest.update(next(seeds).tobytes())
            yield digest.hexdigest()


def _started(config: RunConfig, model: Any, variant: Variant, arm: Arm) -> hashlib.blake2b:
    """The hash of what the groups of a variant have in common in an arm."""
    made_with = {
        "schema": _RECIPE,
        "model": model,
        "sampling": arm.sampling.of(variant.sampling).settings(pictures=False),
        "arm": arm.name,
        **({"loras": _loras(arm, config)} if config.model.loras else {}),
        **dict.fromkeys(in_every_row()),
        **_settings(arm),
    }
    text = json.dumps(without_later_defaults(made_with), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8)


def pictures_of(table: pa.Table) -> list[str]:
    """The ids of the pictures that rows name, masks too, each once.

    table: rows of a plan or of images.
    """
    if SOURCE_IMAGES not in table.column_names:
        return []
    named = [*(one for of_row in table[SOURCE_IMAGES].to_pylist() for one in of_row or ())]
    return [*dict.fromkeys([*named, *(one for one in table[SOURCE_MASK].to_pylist() if one)])]


def groups_of(table: pa.Table, sources: Sources | None = None) -> list[Group]:
    """The model's input for rows, in order.

    table: rows of a plan or of images.
    sources: the pictures of the run; None where no row names one.
    """
    named = pictures_of(table)
    files = sources.read(named) if sources and named else {}
    pictures = [SOURCE_IMAGES, SOURCE_MASK] if named else []
    names = interventions_in(table.column_names)
    sampling = Sampling.names(pictures=bool(named))
    # Version 2 of the row contract has no LoRAs, and neither 2 nor 3 has noise levels.
    wanted = ["prompt", "group_seeds", "loras", *sampling, *names, *pictures]
    rows = table.select([name for name in wanted if name in table.column_names]).to_pylist()
    return [
        Group(
            prompt=row["prompt"],
            seeds=tuple(row["group_seeds"]),
            sampling=Sampling(**_fields({name: row[name] for name in sampling if row.get(name) is not None})),
            interventions=tuple(_config(name, row[name]) for name in names if row[name] is not None),
            loras=tuple(Lora(**lora) for lora in row.get("loras", ())),
            pictures=tuple(files[one] for one in row.get(SOURCE_IMAGES) or ()),
            mask=files.get(str(row.get(SOURCE_MASK))),
        )
        for row in rows
    ]


def _config(name: str, settings: dict[str, Any]) -> InterventionConfig:
    entry = find(name)
    assert entry is not None
    return entry.config(**_fields(settings))


def _fields(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as their classes have them: lists of a row are tuples there."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
