"""What TORA's `refresh_steps` and `lag_steps` change, on the embedded model.

For each pair of values: how far the change of a block's text that is kept from an earlier step is from the one of its
own decomposition, as a share of TORA's effect there (median and 90th percentile over samples, blocks and the steps that
apply an earlier decomposition, in a run that applies each in its own step); and how far the pictures of each prompt
move, as a share of the way that TORA moves them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.embedded import SAMPLING, WEIGHTS
from models.generator import Generator
from models.interventions.tora import alignment
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.last_change import LastChange
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import Keep, space_and_align
from models.spec import Group, InterventionConfig, ModelSpec

PROMPTS = (
    "a striped purple star on night",
    "a striped purple star left of a green heart on snow",
    "a red circle on grass",
    "a dotted yellow triangle above a blue ring on sand",
)
SETTINGS = (ToraConfig(), ToraConfig(sigma=2.0, site="attention"))
"""The paper's, and the embedded model's own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    values = range(1, SAMPLING.steps + 1)
    default = [1, 2, 4, 7, 14, 28]
    parser.add_argument("--refresh-steps", type=int, nargs="+", choices=values, default=default, metavar="R")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many of the benchmark's prompts")
    parser.add_argument("--images", type=int, default=4, help="of each prompt")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    generator = Generator(ModelSpec(path=str(WEIGHTS / "pipeline"), dtype="float32", device="cpu"))
    print(f"{options.images} images of {options.prompts} prompts, {SAMPLING.steps} steps")
    for config in SETTINGS:
        _show(generator, config, options)
    return 0


def _show(generator: Generator, config: ToraConfig, options: argparse.Namespace) -> None:
    print(f"\nsite {config.site}, sigma {config.sigma}")
    print("  steps, lag    a block's change   the pictures of each prompt")
    pairs = product(options.refresh_steps, (0, 1))
    variants = [replace(config, refresh_steps=every, lag_steps=lag) for every, lag in pairs if (every, lag) != (1, 0)]
    errors: dict[ToraConfig, list[float]] = {variant: [] for variant in variants}
    moved: dict[ToraConfig, list[float]] = {variant: [] for variant in variants}

    def draw(prompt: str, *interventions: InterventionConfig) -> NDArray[Any]:
        seeds = tuple(range(1, 1 + options.images))
        group = Group(prompt=prompt, seeds=seeds, sampling=SAMPLING, interventions=interventions)
        return generator.generate([group])[0].astype(float)

    for prompt in PROMPTS[: options.prompts]:
        with _noted() as changes:
            exact = draw(prompt, config)
        effect = np.linalg.norm(exact - draw(prompt))
        for variant in variants:
            errors[variant] += _errors(changes, variant)
            moved[variant].append(float(np.linalg.norm(draw(prompt, variant) - exact) / effect))
    for variant in variants:
        middle, high = np.quantile(errors[variant], (0.5, 0.9))
        shares = " ".join(f"{share:6.1%}" for share in moved[variant])
        pair = f"{variant.refresh_steps:5} {variant.lag_steps:4}"
        print(f"  {pair}     {middle:6.1%} {high:6.1%}     {shares}", flush=True)


@dataclass(frozen=True)
class _Change:
    """A call of TORA, with what its decomposition found."""

    tokens_BND: Tensor
    direction_BD: Tensor
    selection: TokenSelection
    found: Any
    aligned_BND: Tensor

    def again(self, find: Callable[[Any], Any], rows: Any) -> Any:
        """A `Keep`."""
        return self.found


@contextmanager
def _noted() -> Iterator[list[_Change]]:
    """Notes all calls in the body, block after block and step after step."""
    noted: list[_Change] = []

    def note(
        tokens_BND: Tensor, direction_BD: Tensor, selection: TokenSelection, config: ToraConfig, keep: Keep
    ) -> Tensor:
        found: list[Any] = []

        def kept(find: Callable[[Any], Any], rows: Any) -> Any:
            found.append(keep(find, rows))
            return found[0]

        aligned_BND = space_and_align(tokens_BND, direction_BD, selection, config, kept)
        noted.append(_Change(tokens_BND.clone(), direction_BD.clone(), selection, found[0], aligned_BND))
        return aligned_BND

    with mock.patch.object(alignment, "space_and_align", note):
        yield noted


def _errors(changes: list[_Change], config: ToraConfig) -> list[float]:
    blocks, shares = len(changes) // SAMPLING.steps, []
    last = LastChange(config)
    for step in range(SAMPLING.steps):
        found_at = last.at(step, lambda now: now, step)
        if found_at == step:
            continue
        for block in range(blocks):
            now, before = (changes[of * blocks + block] for of in (step, found_at))
            kept_BND = space_and_align(now.tokens_BND, now.direction_BD, now.selection, config, before.again)
            effect_B = torch.linalg.vector_norm(now.aligned_BND - now.tokens_BND, dim=(1, 2))
            shares += (torch.linalg.vector_norm(kept_BND - now.aligned_BND, dim=(1, 2)) / effect_B).tolist()
    return shares
