"""Small random LoRAs of the tiny pipeline, in the files in which diffusers keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.spec import Lora

_RANK, _WIDTH = 2, 32


def save(path: Path, *, seed: int, alpha: float | None = None, part: str = "transformer") -> Path:
    """Write a LoRA of the joint blocks' attention; returns its path.

    path: of the file.
    seed: of its weights.
    alpha: as in the file's metadata; None leaves that out, which means the rank.
    part: of the pipeline that the file is for.
    """
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for block in range(2):
        for layer in ("to_q", "to_k", "to_v"):
            at = f"{part}.transformer_blocks.{block}.attn.{layer}"
            weights[f"{at}.lora_A.weight"] = torch.randn(_RANK, _WIDTH, generator=random)
            weights[f"{at}.lora_B.weight"] = torch.randn(_WIDTH, _RANK, generator=random)
    metadata: dict[str, Any] = {"format": "pt"}
    if alpha is not None:
        config = {f"{part}.r": _RANK, f"{part}.lora_alpha": alpha, f"{part}.target_modules": ["to_q", "to_k", "to_v"]}
        metadata["lora_adapter_metadata"] = json.dumps(config)
    save_file(weights, path, metadata=metadata)
    return path


def lora(path: Path, **settings: Any) -> Lora:
    """The settings of a LoRA that is named like its file."""
    return Lora(**{"name": path.stem, "path": str(path), **settings})
