"""How pipelines turn the latents of their loop into pixels, for families that show images while they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.spec import Sampling

Shrink = Callable[[Tensor], Tensor]
"""Latents [B, C, h, w] -> the same image in fewer of them."""

Decode = Callable[[Any, Tensor, Sampling, Shrink], Tensor]
"""(pipeline, latents as its loop has them, sampling, shrink) -> what its autoencoder makes of them, [B, 3, H, W]."""


def plain(pipe: Any, latents: Tensor, sampling: Sampling, shrink: Shrink) -> Tensor:
    """`Decode` of pipelines whose latents are an image."""
    settings = pipe.vae.config
    latents_BCHW = shrink(latents / settings.scaling_factor + (getattr(settings, "shift_factor", None) or 0.0))
    return _decoded(pipe, latents_BCHW)


def packed(pipe: Any, latents: Tensor, sampling: Sampling, shrink: Shrink) -> Tensor:
    """`Decode` of pipelines whose latents are tokens of 2 x 2 places."""
    return plain(pipe, _unpacked(pipe, latents, sampling), sampling, shrink)


def packed_of_video(pipe: Any, latents: Tensor, sampling: Sampling, shrink: Shrink) -> Tensor:
    """`Decode` of pipelines with such tokens and the autoencoder of a video model, of one frame."""
    latents_BCHW = _unpacked(pipe, latents, sampling)[:, :, 0]
    mean_C11, deviation_C11 = (
        latents.new_tensor(getattr(pipe.vae.config, name))[:, None, None] for name in ("latents_mean", "latents_std")
    )
    return _decoded(pipe, shrink(latents_BCHW * deviation_C11 + mean_C11)[:, :, None])[:, :, 0]


def normalised(pipe: Any, latents: Tensor, sampling: Sampling, shrink: Shrink) -> Tensor:
    """`Decode` of FLUX.2, whose tokens are normalised by the autoencoder's own statistics."""
    norm, multiple = pipe.vae.bn, pipe.vae_scale_factor * 2
    tokens_BCHW = latents.mT.reshape(len(latents), -1, sampling.height // multiple, sampling.width // multiple)
    mean_C11, variance_C11 = (
        statistic.to(latents)[:, None, None] for statistic in (norm.running_mean, norm.running_var)
    )
    tokens_BCHW = tokens_BCHW * torch.sqrt(variance_C11 + pipe.vae.config.batch_norm_eps) + mean_C11
    return _decoded(pipe, shrink(pipe._unpatchify_latents(tokens_BCHW)))


def _unpacked(pipe: Any, latents: Tensor, sampling: Sampling) -> Tensor:
    unpacked: Tensor = pipe._unpack_latents(latents, sampling.height, sampling.width, pipe.vae_scale_factor)
    return unpacked


def _decoded(pipe: Any, latents: Tensor) -> Tensor:
    pixels: Tensor = pipe.vae.decode(latents.to(pipe.vae.dtype), return_dict=False)[0]
    return pixels
