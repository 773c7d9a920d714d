"""Generates pictures of many prompts, one group or several for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedded.described import Expansion, expanded
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
    expand: Expansion = "none",
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
    expand: as for `groups_of`.
    """
    asked = []
    for prompt in prompts:
        seeds = [image_seed(run_seed, prompt, index) for index in range(images)]
        asked.append(groups_of(prompt, seeds, expand, sampling=sampling, interventions=interventions))
    return drawn(generator, asked, prompts_per_batch=groups_per_batch)


def groups_of(prompt: str, seeds: Sequence[int], expand: Expansion, **settings: Any) -> list[Group]:
    """The groups of a prompt's pictures: one, or one of each picture where each has a longer text of its own.

    prompt: the text.
    seeds: of the pictures' noise, and of what is drawn for longer texts.
    expand: how the prompt becomes longer.
    settings: of `Group`.
    """
    if expand == "none":
        return [Group(prompt=prompt, seeds=tuple(seeds), **settings)]
    balanced = expand == "uniform"
    texts = [expanded(prompt, np.random.default_rng(seed), balanced=balanced) for seed in seeds]
    return [Group(prompt=text, seeds=(seed,), **settings) for text, seed in zip(texts, seeds, strict=True)]


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
