"""The embedded model: a small real MM-DiT, its scorer and its judge, on a procedural long-tailed world."""

from pathlib import Path

from models.spec import Sampling

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped weights: `pipeline/` (diffusers), `clip/` (open_clip), `oracle.safetensors`."""

SAMPLING = Sampling(steps=28, guidance_scale=4.0, width=64, height=64, max_sequence_length=0, denoising_strength=0.8)
"""The recommended sampling of the embedded model; it has no T5, so no T5 tokens are asked for."""
