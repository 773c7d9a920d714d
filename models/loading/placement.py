"""Brings a model to its device, with diffusers' ways to save memory: offload, float8 weights, a sliced autoencoder."""

from __future__ import annotations

from typing import Any

import torch

from models.errors import ModelError
from models.spec import ModelSpec


def place(pipe: Any, spec: ModelSpec, device: str) -> Any:
    """Bring a loaded pipeline to a device, and return it.

    pipe: a diffusers pipeline on the CPU.
    spec: says how memory is saved.
    device: a torch device.

    Raises:
        ModelError: when a part of the pipeline does not support a setting, or there is no GPU to offload from.
    """
    if spec.weights == "float8":
        pipe.transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=getattr(torch, spec.dtype)
        )
    for wanted, method in ((spec.vae_slicing, "enable_slicing"), (spec.vae_tiling, "enable_tiling")):
        if wanted:
            _method(pipe.vae, method)()
    if spec.offload == "none":
        return pipe.to(device)
    if torch.device(device).type == "cpu":
        raise ModelError(f"model.offload = {spec.offload!r} moves weights between CPU and GPU: there is no GPU here")
    if spec.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
        return pipe
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module) and name != "transformer":
            part.to(device)
    _method(pipe.transformer, "enable_group_offload")(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=True,
    )
    return pipe


def _method(part: Any, name: str) -> Any:
    if not hasattr(part, name):
        raise ModelError(f"{type(part).__name__} of this model has no {name}: turn the setting off")
    return getattr(part, name)
