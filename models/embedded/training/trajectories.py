"""What the guided teacher makes of noise, kept at the noise levels of the few-step student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTokenizer

from models.embedded import SAMPLING, TURBO_SAMPLING
from models.embedded.captions import caption
from models.embedded.training.attention import plain_attention
from models.embedded.training.mmdit import NOISY, TextToLatent
from models.embedded.training.tokenizer import MAX_TOKENS
from models.embedded.world import sample_scene

LEVELS = TURBO_SAMPLING.sigmas
"""Noise levels at which the student steps; each step goes down to the next one, the last to 0."""
SUBSTEPS = 2
"""Midpoint steps of the teacher for one of the student: in all as many evaluations as 16 Euler steps."""
SHARD = 64
"""Trajectories in a file."""

Text = tuple[Tensor, Tensor]
"""Hidden states float32 [B, N, D] and pooled vectors float32 [B, D] of captions, as the pipeline gives them on."""


def captions_of(rng: np.random.Generator, count: int) -> list[str]:
    """Captions as in the teacher's training."""
    return [caption(sample_scene(rng), rng, NOISY.captions) for _ in range(count)]


def ids_of(captions: list[str], tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids int64 [B, N]."""
    ids: Tensor = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
    return ids


@torch.no_grad()
def text_of(teacher: TextToLatent, ids_BN: Tensor) -> Text:
    """What the teacher's text encoders say."""
    outputs = [encoder(ids_BN, output_hidden_states=True) for encoder in (teacher.text_encoder, teacher.text_encoder_2)]
    states_BND = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return states_BND, torch.cat([output.text_embeds for output in outputs], dim=-1)


def velocity(transformer: Any, latents_BCHW: Tensor, sigma_B: Tensor, text: Text) -> Tensor:
    """Velocity float32 [B, C, H, W] of a transformer at noise levels in [0, 1], computed in bfloat16."""
    states_BND, pooled_BD = text
    with torch.autocast(latents_BCHW.device.type, torch.bfloat16), plain_attention():
        made: Tensor = transformer(
            hidden_states=latents_BCHW,
            timestep=sigma_B * 1000.0,
            encoder_hidden_states=states_BND,
            pooled_projections=pooled_BD,
            return_dict=False,
        )[0]
    return made.float()


@torch.no_grad()
def guided(transformer: Any, latents_BCHW: Tensor, sigma_B: Tensor, text: Text, nothing: Text) -> Tensor:
    """Velocity float32 [B, C, H, W] with classifier-free guidance.

    nothing: the text of empty captions.
    """
    both = torch.cat([nothing[0], text[0]]), torch.cat([nothing[1], text[1]])
    unnamed, named = velocity(transformer, latents_BCHW.repeat(2, 1, 1, 1), sigma_B.repeat(2), both).chunk(2)
    return unnamed + SAMPLING.guidance_scale * (named - unnamed)


def draw_trajectories(
    teacher: TextToLatent, tokenizer: CLIPTokenizer, directory: Path, *, seed: int, shards: int, device: str = "cpu"
) -> list[Path]:
    """The files of `shards` x `SHARD` trajectories; those that are missing are made.

    A file holds `ids` int64 [B, N] and `latents` float16 [B, levels + 1, C, H, W], from noise to picture.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"{shard:05}.pt" for shard in range(shards)]
    shape = teacher.transformer.config
    nothing = text_of(teacher, ids_of([""] * SHARD, tokenizer).to(device))
    for shard, file in enumerate(tqdm(files, desc="trajectories", dynamic_ncols=True, mininterval=5)):
        if file.exists():
            continue
        ids_BN = ids_of(captions_of(np.random.default_rng([seed, shard]), SHARD), tokenizer)
        text = text_of(teacher, ids_BN.to(device))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + shard)
        size = (SHARD, shape.in_channels, shape.sample_size, shape.sample_size)
        latents_BCHW = torch.randn(size, generator=generator).to(device)
        kept = [latents_BCHW]
        for start, stop in zip(LEVELS, (*LEVELS[1:], 0.0), strict=True):
            step = (start - stop) / SUBSTEPS
            for number in range(SUBSTEPS):
                sigma_B = latents_BCHW.new_full((SHARD,), start - number * step)
                half = guided(teacher.transformer, latents_BCHW, sigma_B, text, nothing)
                middle_BCHW = latents_BCHW - step / 2 * half
                slope = guided(teacher.transformer, middle_BCHW, sigma_B - step / 2, text, nothing)
                latents_BCHW = latents_BCHW - step * slope
            kept.append(latents_BCHW)
        torch.save({"ids": ids_BN, "latents": torch.stack(kept, 1).half().cpu()}, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)
    return files
