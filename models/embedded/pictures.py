"""Generates pictures of many prompts, one group or several for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.generator import Generator
from models.seeds import image_seed
from models.spec import Group, InterventionConfig, Sampling


def pictures(
    generator: Generator,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    images: int,
    groups_per_batch: int = 4,
    run_seed: int = 0,
    interventions: tuple[InterventionConfig, ...] = (),
) -> Iterator[NDArray[np.uint8]]:
    """A group of pictures for every prompt in order, uint8 [images, H, W, 3].

    Seeds depend on `run_seed`, the prompt and the picture's number alone.

    generator: of an image family.
    prompts: the texts.
    sampling: of all groups.
    images: pictures of each prompt.
    groups_per_batch: prompts that share a denoising batch.
    run_seed: see `image_seed`.
    interventions: settings of those that act on all groups.
    """
    groups = [
        Group(
            prompt=prompt,
            seeds=tuple(image_seed(run_seed, prompt, index) for index in range(images)),
            sampling=sampling,
            interventions=interventions,
        )
        for prompt in prompts
    ]
    return drawn(generator, [(group,) for group in groups], prompts_per_batch=groups_per_batch)


def drawn(
    generator: Generator, asked: Sequence[Sequence[Group]], *, prompts_per_batch: int
) -> Iterator[NDArray[np.uint8]]:
    """The pictures of several prompts in order, uint8 [images, H, W, 3] for each.

    generator: of an image family.
    asked: the groups of each prompt. All of them can share a denoising batch.
    prompts_per_batch: prompts that share one.
    """
    for at in range(0, len(asked), prompts_per_batch):
        batch = asked[at : at + prompts_per_batch]
        made = iter(generator.generate([group for own in batch for group in own]))
        for own in batch:
            yield np.concatenate([next(made) for _ in own])
