"""Prompts of equal settings come together, whatever their order in the files, so that they fill denoising batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby

from pipelines.plan.shard_size import MOST_SHARD_BYTES, groups_per_prompt, most_file_bytes, prompts_per_shard
from pipelines.plan.variants import Variants
from pipelines.prompts.rows import PromptRow
from pipelines.prompts.settings import PLAIN, Own

PROMPTS_PER_CHUNK = 4096
"""Prompts whose groups are made at a time."""

MOST_WAITING = 1 << 16
"""Most prompts in memory that wait for others of their bucket."""

Bucket = tuple[Own, int | None]
"""What prompts of one bucket have in common: `RowSettings.own` and `RowSettings.images`."""


_PLAIN: Bucket = (PLAIN.own, PLAIN.images)


def bucket_of(prompt: PromptRow) -> Bucket:
    """The bucket of a prompt."""
    return _PLAIN if prompt.settings is PLAIN else (prompt.settings.own, prompt.settings.images)


def room(variants: Variants, bucket: Bucket) -> int:
    """Prompts of a bucket that fill a shard."""
    made = variants.of(*bucket)
    bytes_per_prompt = groups_per_prompt(made) * made.group.size * most_file_bytes(made)
    return max(1, min(prompts_per_shard(made), MOST_SHARD_BYTES // bytes_per_prompt))


def chunks(variants: Variants, prompts: Iterable[PromptRow]) -> Iterator[list[PromptRow]]:
    """The prompts in lists, in each of which those of a bucket lie together: whole shards of a bucket as soon as there
    are enough; what is left over comes at the end, or when more wait than may.

    variants: of the run.
    prompts: in the order of the files.
    """
    waiting: dict[Bucket, list[PromptRow]] = {}
    enough: dict[Bucket, int] = {}
    count = 0
    for prompt in prompts:
        bucket = bucket_of(prompt)
        rows = waiting.get(bucket)
        if rows is None:
            size = room(variants, bucket)
            rows, enough[bucket] = waiting.setdefault(bucket, []), size * max(1, PROMPTS_PER_CHUNK // size)
        rows.append(prompt)
        count += 1
        if len(rows) == enough[bucket]:
            yield waiting.pop(bucket)
            count -= len(rows)
        elif count == MOST_WAITING:
            yield from _together(waiting)
            waiting, enough, count = {}, {}, 0
    yield from _together(waiting)


def _together(waiting: dict[Bucket, list[PromptRow]]) -> Iterator[list[PromptRow]]:
    chunk: list[PromptRow] = []
    for rows in waiting.values():
        chunk += rows
        if len(chunk) >= PROMPTS_PER_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def cut(
    variants: Variants, buckets: Sequence[Bucket], room: Callable[[Variants, Bucket], int] = room
) -> Iterator[list[slice]]:
    """Some prompts, or groups, in shards, as slices of them: full ones of a bucket, and then what is left of each, as
    many buckets in a shard as it has room for.

    variants: of the run.
    buckets: of each prompt or group; equal ones lie together.
    room: how many of a bucket fill a shard.
    """
    left: list[slice] = []
    filled = Fraction(0)
    start = 0
    for bucket, of_bucket in groupby(buckets):
        end, size = start + sum(1 for _ in of_bucket), room(variants, bucket)
        whole = end - (end - start) % size
        yield from ([slice(at, at + size)] for at in range(start, whole, size))
        if whole < end:
            share = Fraction(end - whole, size)
            if filled + share > 1:
                yield left
                left, filled = [], Fraction(0)
            left.append(slice(whole, end))
            filled += share
        start = end
    if left:
        yield left
