"""The size of a shard, in groups and in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Protocol

from models.spec import Sampling
from pipelines.config.arms import Arm
from pipelines.config.tables import GroupSize, Output

MOST_GROUPS_PER_SHARD = 64
"""A killed worker loses the work of one shard."""

MOST_SHARD_BYTES = 1 << 31
"""Most bytes that one Arrow array of binary values can hold."""

BYTES_PER_RAW_BYTE = 0.5
"""Lossless files of generated images are about half as large as their pixels."""


class Made(Protocol):
    """A `RunConfig`, or a `pipelines.plan.variants.Variant` of it."""

    @property
    def sampling(self) -> Sampling: ...
    @property
    def arms(self) -> Sequence[Arm]: ...
    @property
    def group(self) -> GroupSize: ...
    @property
    def output(self) -> Output: ...


def groups_per_shard(config: Made) -> int:
    """Groups of a shard: those of the config, or as many as give files of about `output.shard_mb`, up to 64."""
    if config.output.groups_per_shard:
        return config.output.groups_per_shard
    group_bytes = config.group.size * raw_image_bytes(config) * BYTES_PER_RAW_BYTE
    return int(min(max((config.output.shard_mb << 20) // group_bytes, 1), MOST_GROUPS_PER_SHARD))


def raw_image_bytes(config: Made) -> int:
    """Bytes of an image's pixels, which is, up to a few bytes, an upper bound on the size of an encoded image."""
    return 3 * config.sampling.width * config.sampling.height * config.sampling.frames


def prompts_per_shard(config: Made) -> int:
    """Prompts of a shard: whole ones, so that the arms of a prompt are in one file; where the shard is large enough, a
    number that fills every denoising batch."""
    prompts = max(1, groups_per_shard(config) // groups_per_prompt(config))
    batch = config.group.groups_per_batch // gcd(config.group.groups_per_batch, config.group.groups_per_prompt)
    return prompts - prompts % batch if prompts > batch else prompts


def groups_per_prompt(config: Made) -> int:
    """Groups of a prompt over all arms."""
    return len(config.arms) * config.group.groups_per_prompt
