"""SD3.5-Large at its real size on a GPU: all blocks, all steps, random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch
from torch import nn

from jobs.benchmarks.shapes import SD35_LARGE
from jobs.benchmarks.timing import compare, show
from models.denoising import Denoising, Tokens
from models.families.sd3 import FAMILY
from models.hooks.blocks import interventions
from models.hooks.record import TextRecord
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import InterventionConfig

STEPS, PIXELS, TEXT_TOKENS, PROMPT_TOKENS = 28, 1024, 333, 60


@torch.inference_mode()
def sd35_large_run(
    size: int,
    repeats: int,
    tora: ToraConfig,
    repulsion: RepulsionConfig,
    *,
    config: dict[str, Any] = SD35_LARGE,
    device: str = "cuda",
) -> None:
    """Time the denoising of a group (without text encoders and autoencoder), and print a table.

    size: images of the group.
    repeats: runs of each variant.
    tora: settings of TORA.
    repulsion: settings of contextual repulsion.
    config: arguments of the transformer.
    device: a torch device.
    """
    classes: Any = diffusers
    with torch.device(device):
        transformer = classes.SD3Transformer2DModel(**config).to(torch.bfloat16).eval()
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.02)
    arm = _arm(transformer, size, device)
    variants: dict[str, Callable[[], object]] = {
        "base": lambda: arm(),
        "repulsion": lambda: arm(repulsion),
        "TORA": lambda: arm(tora),
        "both": lambda: arm(tora, repulsion),
    }
    print(f"\nSD3.5-Large (real dimensions, random weights, bfloat16), {PIXELS} px, {STEPS} steps, group of {size}")
    show(compare(variants, repeats=repeats, device=device, label="SD3.5-Large"), "base")


def _arm(transformer: Any, size: int, device: str) -> Callable[..., None]:
    config, rows = transformer.config, 2 * size
    generator = torch.Generator(device).manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device).to(torch.bfloat16)

    latents = noise(size, config.in_channels, config.sample_size, config.sample_size)
    text = noise(2, TEXT_TOKENS, config.joint_attention_dim).repeat_interleave(size, dim=0)
    pooled = noise(2, config.pooled_projection_dim).repeat_interleave(size, dim=0)
    valid = (torch.arange(TEXT_TOKENS, device=device) < PROMPT_TOKENS).expand(size, -1)
    tokens = Tokens.of(valid, torch.ones_like(valid))

    def run(*configs: InterventionConfig) -> None:
        denoising = Denoising(
            steps=STEPS,
            groups=1,
            samples=size,
            family=FAMILY,
            blocks=len(FAMILY.blocks(transformer)),
            tokens={"cond": tokens, "uncond": tokens},
            guided=True,
            seeds=range(size),
        )
        now = latents
        with interventions(transformer, denoising, configs, TextRecord(denoising)):
            for step in range(STEPS):
                time = torch.full((rows,), 1000.0 * (1 - step / STEPS), device=device)
                velocity = transformer(
                    hidden_states=torch.cat([now, now]),
                    timestep=time,
                    encoder_hidden_states=text,
                    pooled_projections=pooled,
                    return_dict=False,
                )[0]
                negative, positive = velocity.chunk(2)
                now = now - (negative + 3.5 * (positive - negative)) / STEPS

    return run
