"""Where a picture attends to some words of its prompt, with and without TORA."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.generator import Generator
from models.hooks.attention import attention_to
from models.interventions.tora.config import ToraConfig
from models.spec import Group, span

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Those of one way to draw."""

    name: str
    """What acts."""
    pictures: NDArray[np.uint8]
    """uint8 [seeds, H, W, 3]."""
    maps: Floats
    """Share of an image token's attention that goes to the words, float64 [seeds, rows, columns], on average over the
    block's heads and all steps."""


def maps(generator: Generator, group: Group, tora: ToraConfig, words: str) -> list[Maps]:
    """The maps of the middle one of the blocks in which TORA acts.

    generator: with the model.
    group: a prompt and its seeds, without interventions.
    tora: the settings.
    words: of the prompt.

    Raises:
        PromptError: when the prompt does not have one.
        ModelError: when it is not known where the text lies in the blocks' attention.
    """
    ways = (("without TORA", group), (f"TORA, sigma {tora.sigma:g}", replace(group, interventions=(tora,))))
    blocks = span(tora.blocks, len(generator.family.blocks(generator.transformer)))
    return [_maps(generator, name, way, words, blocks[len(blocks) // 2]) for name, way in ways]


def _maps(generator: Generator, name: str, group: Group, words: str, number: int) -> Maps:
    family = generator.family
    facts, block = family.blocks(generator.transformer)[number]
    text_N = generator.holding(group.prompt, group.sampling, words)
    with attention_to(facts, block, text_N) as calls:
        pictures = generator.generate([group])[0]
    if family.has_negative(generator.pipeline, group.sampling) and family.layout == "two_calls":
        calls = calls[::2]  # each step's first is of the positive text
    # Where one call has both, the rows of the positive text are the last.
    mean_RI = torch.stack([rows[-len(group.seeds) :] for rows in calls]).mean(0).double().numpy()
    sampling = group.sampling
    rows = round((mean_RI.shape[1] * sampling.height / sampling.width) ** 0.5)
    return Maps(name=name, pictures=pictures, maps=mean_RI.reshape(len(mean_RI), rows, -1))
