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

BYTES_OF_MP4_PER_RAW_BYTE = 0.03
"""MP4s of textures that move, with some noise (between 0.005 without any and 0.1 with much)."""


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
    """Groups of a shard: those of the config, or as many as give lossless files of about `output.shard_mb`, up to 64.
    MP4s make smaller files: a shard is also what a killed worker loses, and that is the time for its pixels."""
    if config.output.groups_per_shard:
        return config.output.groups_per_shard
    group_bytes = config.group.size * raw_image_bytes(config) * BYTES_PER_RAW_BYTE
    return int(min(max((config.output.shard_mb << 20) // group_bytes, 1), MOST_GROUPS_PER_SHARD))


def bytes_per_raw_byte(config: Made) -> float:
    """Rough size of a file, as a share of its pixels'."""
    return BYTES_OF_MP4_PER_RAW_BYTE if _in_mp4(config) else BYTES_PER_RAW_BYTE


def most_file_bytes(config: Made) -> int:
    """An upper bound, up to a few bytes, on the size of an encoded image or video. H.264 has the colour of every second
    pixel of every second row, and stores a block as it is where coding it makes it no smaller."""
    return raw_image_bytes(config) // (2 if _in_mp4(config) else 1)


def _in_mp4(config: Made) -> bool:
    return config.output.video_format == "mp4"


def raw_image_bytes(config: Made) -> int:
    """Bytes of the pixels of an image or a video."""
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
