"""Published rivals of the two interventions, for comparisons: training-free, at sampling time, on any MM-DiT whose
guidance runs in one call on rows [negative; positive].

guidance interval   classifier-free guidance only in some steps (Kynkaanniemi et al., arXiv 2404.07724, section 3)
CADS                noise on the condition, annealed away (Sadat et al., arXiv 2310.17347, section 4, algorithm 1)
DAVE                damps the mean image token at one early block (arXiv 2606.06813)
particle guidance   repulsion between the latents of a group (Corso et al., arXiv 2310.13102, equation 4, radial kernel)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from models.spec import RivalConfig, active

HOOK = "raydiance_rival"


class Progress:
    """Where the run is; `note` fits `Generator.generate`'s `on_step`. seeds: of every group of the batch."""

    def __init__(self, steps: int, seeds: Sequence[Sequence[int]]) -> None:
        self.step, self.steps, self.seeds = 0, steps, seeds

    def noise(self, like: Tensor, purpose: int) -> Tensor:
        """Standard normal noise for this step, each row drawn from its own image's seed alone."""
        rows = []
        for seed in (seed for group in self.seeds for seed in group):
            key = f"{seed}\0{self.step}\0{purpose}".encode()
            state = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1
            rows.append(torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(state)))
        return torch.stack(rows).to(like.device)

    def note(self, done: int, steps: int) -> None:
        """`done` of `steps` denoising steps are over."""
        self.step = done


@contextmanager
def rival(transformer: nn.Module, config: RivalConfig | None, progress: Progress) -> Iterator[None]:
    """Run the body with the rival in place."""
    if config is None:
        yield
        return
    root = HookRegistry.check_if_exists_or_initialize(transformer)
    try:
        root.register_hook(_RootHook(config, progress), HOOK)
        if config.method == "dave":
            blocks: Any = transformer.get_submodule("transformer_blocks")
            HookRegistry.check_if_exists_or_initialize(blocks[config.block]).register_hook(
                _DaveHook(config, progress), HOOK
            )
        yield
    finally:
        root.remove_hook(HOOK, recurse=True)


class _RootHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """What is done to the text before the transformer, and to the velocity after it."""

    def __init__(self, config: RivalConfig, progress: Progress) -> None:
        super().__init__()
        self.config, self.progress = config, progress
        self.latents_RCHW: Tensor | None = None
        self.sigma = 1.0

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self.latents_RCHW = kwargs["hidden_states"]
        self.sigma = float(kwargs["timestep"].flatten()[0]) / 1000.0
        if self.config.method == "cads":
            for index, name in enumerate(("encoder_hidden_states", "pooled_projections")):
                negative, positive = kwargs[name].chunk(2)
                noise = self.progress.noise(positive, index)
                kwargs[name] = torch.cat([negative, anneal(positive, noise, self.sigma, self.config)])
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        velocity, *rest = output if isinstance(output, tuple) else (output.sample,)
        negative, positive = velocity.chunk(2)
        if self.config.method == "interval" and not active(self.config.steps, self.progress.step, self.progress.steps):
            velocity = torch.cat([positive, positive])
        if self.config.method == "particle":
            assert self.latents_RCHW is not None
            latents = self.latents_RCHW[: len(negative)]
            away = repulsion_of_particles(latents.reshape(len(self.progress.seeds), -1, *latents.shape[1:])).flatten(
                0, 1
            )
            velocity = velocity - (self.config.weight * self.sigma * torch.cat([away, away])).to(velocity.dtype)
        return (velocity, *rest) if isinstance(output, tuple) else type(output)(sample=velocity)


class _DaveHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """h <- h + (weight - 1) * mean over image tokens, at a block's output."""

    def __init__(self, config: RivalConfig, progress: Progress) -> None:
        super().__init__()
        self.config, self.progress = config, progress

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        if not active(self.config.steps, self.progress.step, self.progress.steps):
            return output
        text, image_RND = output
        return text, image_RND + (self.config.weight - 1.0) * image_RND.mean(dim=1, keepdim=True)


def anneal(text: Tensor, noise: Tensor, time: float, config: RivalConfig) -> Tensor:
    """CADS: the text with noise, rescaled to its own mean and spread.

    text: [B, ...]; time: 1 at the start, 0 at the end; `config.weight` is the paper's s, `config.steps` its
    (1 - tau_2, 1 - tau_1).
    """
    start, stop = 1.0 - config.steps[0], 1.0 - config.steps[1]
    gamma = min(1.0, max(0.0, (start - time) / (start - stop)))
    dims = tuple(range(1, text.ndim))
    mean, spread = text.float().mean(dims, keepdim=True), text.float().std(dims, keepdim=True)
    noised = math.sqrt(gamma) * text.float() + config.weight * math.sqrt(1.0 - gamma) * noise.float()
    again = (noised - noised.mean(dims, keepdim=True)) / noised.std(dims, keepdim=True)
    return (again * spread + mean).to(text.dtype)


def repulsion_of_particles(latents_GBCHW: Tensor) -> Tensor:
    """Particle guidance: -h/2 times the gradient of each sample's summed similarity to the others, float32.

    The similarity is exp(-|x_i - x_j|^2 / h), h = median distance^2 / log B of the group (Corso et al., appendix); the
    factor h/2 makes the push a share of the samples' distances, on any latent size.
    """
    flat_GBX = latents_GBCHW.float().flatten(2)
    samples = flat_GBX.shape[1]
    if samples == 1:
        return torch.zeros_like(latents_GBCHW, dtype=torch.float32)
    distance_GBB = torch.cdist(flat_GBX, flat_GBX)
    row, column = torch.triu_indices(samples, samples, offset=1, device=flat_GBX.device)
    width_G11 = (distance_GBB[:, row, column].median(-1).values.square() / math.log(max(samples, 3)))[:, None, None]
    kernel_GBB = torch.exp(-distance_GBB.square() / width_G11.clamp_min(1e-12))
    push_GBX = kernel_GBB.sum(-1, keepdim=True) * flat_GBX - kernel_GBB @ flat_GBX
    return push_GBX.reshape(latents_GBCHW.shape)
