"""Pictures on the line through two samples of a prompt: in the space of starting noise, and in contextual space, which
is that of the text tokens at the blocks' outputs (arXiv 2603.28762, section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.families.base import Family


def on_the_arc(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Noise between two samples', at 0 the first and at 1 the second, which is as long as theirs: both lie near one
    sphere, and so does the arc between them (spherical interpolation), also where it goes on beyond them.

    first, second: of one shape.
    share: of the way.
    """
    cosine = torch.nn.functional.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0)
    angle = cosine.clamp(-1, 1).acos()
    ahead, behind = torch.sin(share * angle) / torch.sin(angle), torch.sin((1 - share) * angle) / torch.sin(angle)
    return (behind * first + ahead * second).to(first.dtype)


@contextmanager
def in_noise(pipe: Any, shares: Sequence[float]) -> Iterator[None]:
    """Run the body, which draws one group of 2 images and one more for each share, so that each of the others starts
    between the first two's noise.

    pipe: a diffusers pipeline.
    shares: of the way from the first to the second.
    """
    prepare = pipe.prepare_latents

    def moved(*args: Any, **kwargs: Any) -> Any:
        made = prepare(*args, **kwargs)
        latents = made[0] if isinstance(made, tuple) else made
        first, second = latents[0], latents[1]
        latents[2:] = torch.stack([on_the_arc(first, second, share) for share in shares])
        return made

    pipe.prepare_latents = moved
    try:
        yield
    finally:
        del pipe.prepare_latents


@contextmanager
def in_context(transformer: nn.Module, family: Family, shares: Sequence[float]) -> Iterator[None]:
    """Run the body, which draws one group of 2 images and one more for each share, so that the text tokens of each of
    the others are between the first two's at the output of every block, in all steps and branches.

    transformer: of the pipeline.
    family: of the model.
    shares: of the way from the first to the second; what they start from is up to the group's seeds.

    Raises:
        ModelError: when a block does not give its text apart from the image.
    """
    way_S11 = torch.tensor(shares)[:, None, None]

    def moved(text_RND: Tensor) -> Tensor:
        rows = text_RND.reshape(-1, 2 + len(way_S11), *text_RND.shape[1:])
        way = way_S11.to(text_RND.device, text_RND.dtype)
        between = (1 - way) * rows[:, :1] + way * rows[:, 1:2]
        return torch.cat([rows[:, :2], between], dim=1).flatten(0, 1)

    handles = []
    for facts, block in family.blocks(transformer):
        at = facts.text_output
        if at is None:
            raise ModelError(f"lines in contextual space: {type(block).__name__} gives text and image as one tensor")

        def after(_: Any, __: Any, output: Any, at: int = at) -> Any:
            parts = list(output)
            if parts[at] is not None:
                parts[at] = moved(parts[at])
            return tuple(parts)

        handles.append(block.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
