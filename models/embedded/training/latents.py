"""Latents of the training pictures, encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from tqdm import tqdm

from models.embedded.training.vae import to_model_range

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Latents:
    """values: float16 [n, C, 16, 16], of mean 0 and spread 1 after (raw - shift) * scale."""

    values: NDArray[np.float16]
    shift: float
    scale: float


@torch.inference_mode()
def encode_all(vae: AutoencoderKL, images_NHWC: NDArray[np.uint8], directory: Path) -> Latents:
    """Encode `images_NHWC` uint8 [n, 64, 64, 3], or open what an earlier call saved under `directory`."""
    path = directory / "latents.npy"
    if not path.exists():
        raw: list[NDArray[np.float16]] = []
        for at in tqdm(range(0, len(images_NHWC), _BATCH), desc="encode", dynamic_ncols=True, mininterval=5):
            pixels = to_model_range(images_NHWC[at : at + _BATCH]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                mean = vae.encode(pixels).latent_dist.mean
            raw.append(mean.float().numpy().astype(np.float16))
        part = path.with_suffix(".part.npy")
        np.save(part, np.concatenate(raw))
        part.rename(path)
    values = np.load(path)
    sample = values[:: max(1, len(values) // 10_000)].astype(np.float64)
    shift, scale = float(sample.mean()), float(1.0 / sample.std())
    for at in range(0, len(values), 10_000):
        values[at : at + 10_000] = (values[at : at + 10_000].astype(np.float32) - shift) * scale
    return Latents(values=values, shift=shift, scale=scale)
