"""The embedded model: a small real MM-DiT, its scorer and its judge, on a procedural long-tailed world."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped weights: `pipeline/` (diffusers), `clip/` (open_clip), `oracle.safetensors`."""
