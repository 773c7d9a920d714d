"""Writes the plan of a round: a further segment, with the groups that `pipelines.quota.budget` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import pyarrow as pa

from pipelines.config.arms import column_names
from pipelines.config.run import RunConfig
from pipelines.dataset import schema
from pipelines.dataset.run_json import Segment
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.plan.buckets import Bucket, bucket_of, chunks, cut
from pipelines.plan.files import PartWriter, next_first
from pipelines.plan.groups import Draw, group_table
from pipelines.plan.shard_size import MOST_SHARD_BYTES, groups_per_shard, most_file_bytes
from pipelines.plan.variants import Variants
from pipelines.prompts.rows import PromptRow
from pipelines.quota.budget import Ask
from pipelines.quota.census import Census
from pipelines.quota.state import Counts


def write_round(
    config: RunConfig,
    output: Storage,
    segments: Sequence[Segment],
    prompts: Iterable[PromptRow],
    asked: Ask,
    census: Census,
    groups_P: Counts,
) -> Segment:
    """Write the plan of a round; the same prompts and groups give the same bytes.

    config: the run.
    output: the output folder.
    segments: of the plan so far.
    prompts: all usable ones, in order.
    asked: the groups of the round.
    census: of the prompts that the round was decided by.
    groups_P: groups that each prompt has already.

    Raises:
        UserError: when the prompts are no longer those of the census.
    """
    variants = Variants(config)
    columns = schema.plan(column_names(config.arms), config.more_fields)
    draws: dict[str, list[Draw]] = {}
    with PartWriter(output, next_first(segments), columns) as parts:
        for chunk in chunks(variants, _asked(config, prompts, asked, census, groups_P, draws)):
            draws_N = [draws.pop(prompt.prompt_id) for prompt in chunk]
            table = group_table(variants, chunk, draws_N)
            of_groups = [bucket_of(prompt) for prompt, own in zip(chunk, draws_N, strict=True) for _ in own]
            for shard in cut(variants, of_groups, room=groups_room):
                slices = [table.slice(at.start, at.stop - at.start) for at in shard]
                parts.write(pa.concat_tables(slices).combine_chunks())
    return parts.segment


def _asked(
    config: RunConfig,
    prompts: Iterable[PromptRow],
    asked: Ask,
    census: Census,
    groups_P: Counts,
    draws: dict[str, list[Draw]],
) -> Iterator[PromptRow]:
    """The prompts that have groups in the round; `draws` takes these by the prompt's id. Every group of a prompt has
    seeds of its own, whatever its arm: an arm that made the same pictures again would bring nothing new."""
    most, size_A = config.group.size, config.group_sizes
    wanted = groupby(zip(asked.prompt_G.tolist(), asked.arm_G.tolist(), strict=True), key=lambda one: one[0])
    number, groups = next(wanted, (-1, iter(())))
    for at, prompt in enumerate(prompts):
        if at == number:
            if census.prompts_of([prompt.prompt_id])[0] != at:
                raise _changed(at, f"is {prompt.prompt!r} now")
            done = int(groups_P[at])
            draws[prompt.prompt_id] = [
                Draw(arm=arm, first=(done + group) * most, images=size_A[arm]) for group, (_, arm) in enumerate(groups)
            ]
            yield prompt
            number, groups = next(wanted, (-1, iter(())))
    if number >= 0:
        raise _changed(number, "is not there any more")


def _changed(number: int, how: str) -> UserError:
    return UserError(
        "the prompt files, or the pictures that they name, have changed while the run goes on: of the usable prompts, "
        f"number {number + 1} {how}. Put them back as they were, and start the job again: a run with quotas reads them "
        "before every round."
    )


def groups_room(variants: Variants, bucket: Bucket) -> int:
    """Groups of a bucket that fill a shard: whole denoising batches, where it is large enough."""
    made = variants.of(*bucket)
    groups, batch = groups_per_shard(made), made.group.groups_per_batch
    whole = groups - groups % batch if groups > batch else groups
    return max(1, min(whole, MOST_SHARD_BYTES // (made.group.size * most_file_bytes(made))))
