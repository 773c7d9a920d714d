"""How good the embedded model is: every number of its card, each with a 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from models.embedded import measures
from models.embedded.attributes import ABSENT, HEADS, scene_of
from models.embedded.captions import caption
from models.embedded.oracle import Oracle
from models.embedded.training.data import RenderedSet
from models.embedded.training.scorer import STYLE, altered
from models.embedded.world import Rarity
from models.generator import Generator
from models.scorers.clip import ClipScorer
from models.statistics import Estimate, bootstrap, share

RARITIES: tuple[Rarity, ...] = ("common", "uncommon", "rare", "unseen")


def oracle_accuracy(oracle: Oracle, held_out: RenderedSet) -> dict[str, Estimate]:
    """Share right per attribute, over the pictures that have it."""
    seen = oracle.read(np.asarray(held_out.images)).labels
    result = {}
    for column, name in enumerate(HEADS):
        present = held_out.labels[:, column] != ABSENT
        right = seen[present, column] == held_out.labels[present, column]
        result[name] = share(int(right.sum()), int(present.sum()))
    return result


@torch.inference_mode()
def reconstruction_psnr(generator: Generator, images_NHWC: NDArray[np.uint8], batch: int = 50) -> Estimate:
    """Mean peak signal-to-noise ratio in dB of pictures encoded and decoded by the pipeline's autoencoder."""
    vae = generator.vae
    values: list[NDArray[np.float64]] = []
    for at in range(0, len(images_NHWC), batch):
        pixels = torch.from_numpy(np.array(images_NHWC[at : at + batch])).permute(0, 3, 1, 2)
        pixels = (pixels.float() / 127.5 - 1.0).to(vae.dtype)
        again = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        error = ((again.float() - pixels.float()) / 2.0).square().mean(dim=(1, 2, 3))
        values.append((-10.0 * error.log10()).double().numpy()[:, None])
    return bootstrap(list(chain.from_iterable(values)))


def caption_choice(scorer: ClipScorer, held_out: RenderedSet, choices: int = 16) -> Estimate:
    """How often the scorer picks a picture's caption among `choices` captions that differ in one attribute."""
    rng = np.random.default_rng(0)
    right = 0
    vectors = scorer.embed_images(np.asarray(held_out.images))
    for vector, labels in zip(vectors, held_out.labels, strict=True):
        texts = [caption(scene_of(labels), rng, STYLE)]
        # A caption with little in it has fewer neighbours than choices; tries are bounded.
        for _ in range(20 * choices):
            other = altered(texts[0], rng)
            if other not in texts:
                texts.append(other)
            if len(texts) == choices:
                break
        right += int(np.argmax(scorer.embed_texts(texts) @ vector) == 0)
    return share(right, len(vectors))


def success(oracle: Oracle, prompts: Sequence[str], groups: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.float64]]:
    """Per prompt, per picture: 1 where the oracle sees all that the prompt names, else 0."""
    return [measures.success(prompt, oracle.read(images)) for prompt, images in zip(prompts, groups, strict=True)]


def variety(oracle: Oracle, prompts: Sequence[str], groups: Iterable[NDArray[np.uint8]]) -> tuple[Estimate, Estimate]:
    """Average-pair Vendi score of a prompt's pictures, and distinct values of the attributes that it leaves open."""
    readings = [oracle.read(images) for images in groups]
    distinct = [measures.distinct_values(prompt, seen) for prompt, seen in zip(prompts, readings, strict=True)]
    vendi = [measures.pair_vendi(seen) for seen in readings]
    return bootstrap([np.array([value]) for value in vendi]), bootstrap([np.array([value]) for value in distinct])
