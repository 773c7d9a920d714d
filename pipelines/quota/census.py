"""Whose quotas there are: the prompts of a run by concept, in arrays of numbers, so that memory stays small.

Array names: K quotas, P prompts, A arms of the config.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.quota import Quota
from pipelines.config.run import RunConfig
from pipelines.plan.buckets import Bucket, bucket_of
from pipelines.plan.survey import work
from pipelines.plan.variants import Variants
from pipelines.prompts.rows import PromptRow

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Census:
    """The quotas and prompts of a run, numbered in the order in which they first come."""

    names: list[str]
    """What each quota is for: the concept, or the prompt's id."""
    quota_P: NDArray[np.int32]
    """The number of each prompt's quota."""
    work_PA: NDArray[np.float64]
    """Work of a group of each prompt in each arm: denoising steps times pixels times images, as a multiple of that of
    a group of `group.size` with the run's own sampling."""
    sorted_P: Hashes
    """Hashes of the prompts' ids, sorted."""
    order_P: NDArray[np.int64]
    """The numbers of the prompts in that order."""

    def prompts_of(self, prompt_ids: Iterable[Any]) -> NDArray[np.int64]:
        """The numbers of prompts, by their ids; -1 for one that is not there."""
        wanted = _hashes(prompt_ids)
        at = np.minimum(np.searchsorted(self.sorted_P, wanted), len(self.sorted_P) - 1)
        return np.where(self.sorted_P[at] == wanted, self.order_P[at], -1)

    def by_quota(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The prompts' numbers, quota after quota (int64 [P]), and where each begins in that (int64 [K + 1])."""
        counts = np.bincount(self.quota_P, minlength=len(self.names))
        return np.argsort(self.quota_P, kind="stable"), np.cumsum([0, *counts])


def take(config: RunConfig, quota: Quota, prompts: Iterable[PromptRow], variants: Variants) -> Census:
    """The quotas of some prompts.

    config: the run.
    quota: its table [quota].
    prompts: all usable ones, in order.
    variants: of the run.
    """
    numbers: dict[str, int] = {}
    of_prompt: list[int] = []
    works: list[tuple[float, ...]] = []
    ids: list[Hashes] = []
    waiting: list[str] = []
    of_bucket = lru_cache(_REMEMBERED)(partial(_works, config, variants))
    for prompt in prompts:
        of_prompt.append(numbers.setdefault(name_of(prompt, quota), len(numbers)))
        works.append(of_bucket(bucket_of(prompt)))
        waiting.append(prompt.prompt_id)
        if len(waiting) == _AT_A_TIME:
            ids.append(_hashes(waiting))
            waiting.clear()
    hashes_P = np.concatenate([*ids, _hashes(waiting)])
    order_P = np.argsort(hashes_P, kind="stable")
    return Census(
        names=list(numbers),
        quota_P=np.array(of_prompt, np.int32),
        work_PA=np.array(works, np.float64).reshape(len(works), len(config.arms)),
        sorted_P=hashes_P[order_P],
        order_P=order_P,
    )


def name_of(prompt: PromptRow, quota: Quota) -> str:
    """What the quota of a prompt is for."""
    return prompt.prompt_id if quota.per == "prompt" else prompt.concept or prompt.prompt


_AT_A_TIME = 4096
_REMEMBERED = 4096


def _works(config: RunConfig, variants: Variants, bucket: Bucket) -> tuple[float, ...]:
    """A row of `Census.work_PA`."""
    made, whole = variants.of(*bucket), work(config.sampling) * config.group.size
    sizes = zip(made.arms, config.group_sizes, strict=True)
    return tuple(work(arm.sampling.of(made.sampling)) * size / whole for arm, size in sizes)


def _hashes(texts: Iterable[Any]) -> Hashes:
    digests = b"".join(hashlib.blake2b(str(text).encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)
