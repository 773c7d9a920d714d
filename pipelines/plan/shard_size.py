"""The size of a shard, in groups and in bytes."""

from __future__ import annotations

from math import gcd

from pipelines.config.run import RunConfig

MOST_GROUPS_PER_SHARD = 64
"""A killed worker loses the work of one shard."""

BYTES_PER_RAW_BYTE = 0.5
"""Lossless files of generated images are about half as large as their pixels."""


def groups_per_shard(config: RunConfig) -> int:
    """Groups of a shard: those of the config, or as many as give files of about `output.shard_mb`, up to 64."""
    if config.output.groups_per_shard:
        return config.output.groups_per_shard
    group_bytes = config.group.size * raw_image_bytes(config) * BYTES_PER_RAW_BYTE
    return int(min(max((config.output.shard_mb << 20) // group_bytes, 1), MOST_GROUPS_PER_SHARD))


def raw_image_bytes(config: RunConfig) -> int:
    """Bytes of an image's pixels, which is, up to a few bytes, an upper bound on the size of an encoded image."""
    return 3 * config.sampling.width * config.sampling.height * config.sampling.frames


def prompts_per_shard(config: RunConfig) -> int:
    """Prompts of a shard: whole ones, so that the arms of a prompt are in one file; where the shard is large enough, a
    number that fills every denoising batch."""
    prompts = max(1, groups_per_shard(config) // groups_per_prompt(config))
    batch = config.group.groups_per_batch // gcd(config.group.groups_per_batch, config.group.groups_per_prompt)
    return prompts - prompts % batch if prompts > batch else prompts


def groups_per_prompt(config: RunConfig) -> int:
    """Groups of a prompt over all arms."""
    return len(config.arms) * config.group.groups_per_prompt
