"""Writes the trained parts as a stock StableDiffusion3Pipeline folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from transformers import CLIPTokenizer

from models.embedded.training.latents import Latents
from models.embedded.training.mmdit import TextToLatent

SCHEDULER_SHIFT = 1.0


def export_pipeline(
    vae: AutoencoderKL, model: TextToLatent, tokenizer: CLIPTokenizer, latents: Latents, directory: Path
) -> None:
    """Save a complete pipeline in half precision; diffusers' `from_pretrained` needs nothing else."""
    vae.register_to_config(shift_factor=latents.shift, scaling_factor=latents.scale)
    pipeline = StableDiffusion3Pipeline(
        transformer=model.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SCHEDULER_SHIFT),
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=model.text_encoder_2,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.to(torch.float16).save_pretrained(directory)
    # Saving leaves absent components out of the index; named as null there, a reader can tell them from forgotten ones.
    index_path = directory / "model_index.json"
    index = json.loads(index_path.read_text()) | {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
