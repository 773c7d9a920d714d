"""Small random LoRAs of the tiny pipeline, in the files in which diffusers keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.spec import Lora
from tests.support.toys.parts import WIDTH

_RANK = 2
_LAYERS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "transformer": ("transformer_blocks.{}.attn", ("to_q", "to_k", "to_v"), 32),
    "text_encoder": ("text_model.encoder.layers.{}.self_attn", ("q_proj", "k_proj", "v_proj"), WIDTH),
}
"""Part of the pipeline -> where its attention is, its layers, and their width."""


def save(path: Path, *, seed: int, alpha: float | None = None, part: str = "transformer") -> Path:
    """Write a LoRA of a part's attention; returns its path.

    path: of the file.
    seed: of its weights.
    alpha: as in the file's metadata; None leaves that out, which means the rank.
    part: of the pipeline; one that it has not is written as its transformer.
    """
    at, layers, width = _LAYERS.get(part, _LAYERS["transformer"])
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for block in range(2):
        for layer in layers:
            name = f"{part}.{at.format(block)}.{layer}"
            weights[f"{name}.lora_A.weight"] = torch.randn(_RANK, width, generator=random)
            weights[f"{name}.lora_B.weight"] = torch.randn(width, _RANK, generator=random)
    metadata: dict[str, Any] = {"format": "pt"}
    if alpha is not None:
        config = {f"{part}.r": _RANK, f"{part}.lora_alpha": alpha, f"{part}.target_modules": layers}
        metadata["lora_adapter_metadata"] = json.dumps(config)
    save_file(weights, path, metadata=metadata)
    return path


def lora(path: Path, **settings: Any) -> Lora:
    """The settings of a LoRA that is named like its file."""
    return Lora(**{"name": path.stem, "path": str(path), **settings})
