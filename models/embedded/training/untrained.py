"""The embedded model with random weights: the same shapes and the same cost, for benchmarks and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.embedded.training import vae
from models.embedded.training.export import export_pipeline
from models.embedded.training.latents import Latents
from models.embedded.training.mmdit import TextToLatent
from models.embedded.training.tokenizer import build_tokenizer


def save_untrained(directory: Path) -> str:
    """Write a complete pipeline folder into `directory`, which exists; the same bytes every time."""
    size = vae.LATENT_SIZE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = build_tokenizer(directory / "words")
        model = TextToLatent(tokenizer, vae.LATENT_CHANNELS, size)
        latents = Latents(values=np.empty((0, vae.LATENT_CHANNELS, size, size), np.float16), shift=0.0, scale=1.0)
        export_pipeline(vae.build(), model, tokenizer, latents, directory / "pipeline")
    return str(directory / "pipeline")
