"""The embedded model: a small real MM-DiT, its scorer and its judge, on a procedural long-tailed world."""

from dataclasses import replace
from pathlib import Path

from models.spec import Lora, Sampling

WEIGHTS = Path(__file__).parent / "weights"
"""The shipped weights: `pipeline/` (diffusers), `turbo/` (a LoRA for it), `clip/` (open_clip), `oracle.safetensors`."""

SAMPLING = Sampling(steps=28, guidance_scale=4.0, width=64, height=64, max_sequence_length=0, denoising_strength=0.8)
"""The recommended sampling of the embedded model; it has no T5, so no T5 tokens are asked for."""

TURBO = Lora(name="turbo", path=str(WEIGHTS / "turbo" / "pytorch_lora_weights.safetensors"))
"""The LoRA with which the embedded model draws in four steps without guidance."""

TURBO_SAMPLING = replace(SAMPLING, steps=4, guidance_scale=1.0, sigmas=(1.0, 0.75, 0.5, 0.25))
"""What the LoRA was trained for."""
