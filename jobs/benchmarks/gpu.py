"""Published models at their real size on a GPU: all blocks, a few steps, random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from jobs.benchmarks import parts
from jobs.benchmarks.cases import TORA, Model
from jobs.benchmarks.timing import compare, show
from models.denoising import Denoising
from models.families import flux, sd3
from models.families.base import Family
from models.hooks.blocks import interventions
from models.hooks.record import TextRecord
from models.spec import InterventionConfig
from models.tokens import Tokens

Noise = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class _Class:
    """How a class of transformers is called."""

    family: Family
    latents: Callable[[Model, Any], tuple[int, ...]]
    """Shape of an image's latents, from the model and the transformer's config."""
    inputs: Callable[[Model, int, Any, Noise], dict[str, Any]]
    """The inputs beside latents, text and time, from the model, the number of rows and the transformer's config."""


def _sd3_latents(model: Model, config: Any) -> tuple[int, ...]:
    return config.in_channels, config.sample_size, config.sample_size


def _flux_latents(model: Model, config: Any) -> tuple[int, ...]:
    return model.image_tokens, config.in_channels


def _sd3_inputs(model: Model, rows: int, config: Any, noise: Noise) -> dict[str, Any]:
    return {"pooled_projections": noise(rows, config.pooled_projection_dim)}


def _flux_inputs(model: Model, rows: int, config: Any, noise: Noise) -> dict[str, Any]:
    return {
        "pooled_projections": noise(rows, config.pooled_projection_dim),
        "guidance": noise(rows).abs(),
        "txt_ids": noise(model.text_tokens, 3) * 0.0,
        "img_ids": noise(model.image_tokens, 3),
    }


CLASSES: Mapping[str, _Class] = {
    "SD3Transformer2DModel": _Class(
        family=sd3.FAMILY,
        latents=_sd3_latents,
        inputs=_sd3_inputs,
    ),
    "FluxTransformer2DModel": _Class(
        family=flux.FAMILY,
        latents=_flux_latents,
        inputs=_flux_inputs,
    ),
}


@torch.inference_mode()
def measure(
    model: Model,
    groups: Sequence[int],
    prompts: Sequence[int],
    large_group: int,
    *,
    steps: int,
    repeats: int,
    device: str = "cuda",
) -> None:
    """Time the steps of groups (without text encoders and autoencoder), and print tables.

    groups: group sizes.
    prompts: numbers of the prompt's own tokens.
    large_group: the size of a group for repulsion alone; 0 for none.
    steps: denoising steps of a run with TORA.
    repeats: runs of each variant.
    device: a torch device.
    """
    classes: Any = diffusers
    with torch.device(device):
        transformer: nn.Module = getattr(classes, model.transformer)(**model.config).to(torch.bfloat16).eval()
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.02)
    timed = partial(compare, repeats=repeats, device=device, label=model.name)
    for images, own in product(groups, prompts):
        run = _denoising(transformer, model, images, own, steps, device)
        print(f"\n{_title(model, steps, images)}, {own} tokens of the prompt")
        variants = {
            "TORA": TORA,
            "TORA, a step late": replace(TORA, lag_steps=1),
            "TORA, decomposed once": replace(TORA, refresh_steps=steps),
        }
        show(timed({"base": run, **{name: partial(run, config) for name, config in variants.items()}}), "base")
        parts.show(timed(parts.without_papers_forms(parts.tora(model, images, own, device, torch.bfloat16))))
    for images in (*groups, *([large_group] if large_group else [])):
        if images > 1:
            print(f"\n{_title(model, 1, images)}")  # its steps are all alike
            run = _denoising(transformer, model, images, prompts[0], 1, device)
            try:
                table = timed({"base": run, "repulsion": partial(run, model.repulsion)})
            except torch.OutOfMemoryError:
                print("    does not fit into this GPU's memory", flush=True)
                continue
            show(table, "base")
            over = (table["repulsion"].ratio - 1.0) * model.tau / model.steps
            print(f"    over a run, where it acts in {model.tau} of {model.steps} steps: {100 * over:+.2f} %")
            calls = parts.repulsion(model, images, model.repulsion, device, torch.bfloat16)
            parts.show(timed(parts.without_papers_forms(calls)))


def _title(model: Model, steps: int, images: int) -> str:
    counted = f"{steps} steps" if steps > 1 else "1 step"
    return f"{model.name} (real dimensions, random weights, bfloat16), {counted}, group of {images}"


def _denoising(transformer: Any, model: Model, images: int, own: int, steps: int, device: str) -> Callable[..., None]:
    """A call that denoises a group with the interventions whose settings it is given.

    transformer: of the model.
    images: of the group.
    own: the prompt's own tokens.
    For the rest see `measure`.
    """
    config, how = transformer.config, CLASSES[model.transformer]
    rows = model.branches * images
    generator = torch.Generator(device).manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device).to(torch.bfloat16)

    latents = noise(images, *how.latents(model, config))
    text = noise(model.branches, model.text_tokens, config.joint_attention_dim).repeat_interleave(images, dim=0)
    others = how.inputs(model, rows, config, noise)
    valid = (torch.arange(model.text_tokens, device=device) < own).expand(images, -1)
    tokens = Tokens.of(valid, torch.ones_like(valid))

    def run(*configs: InterventionConfig) -> None:
        state = Denoising(
            steps=steps,
            groups=1,
            samples=images,
            family=how.family,
            blocks=len(how.family.blocks(transformer)),
            tokens={"cond": tokens, "uncond": tokens},
            guided=model.branches > 1,
            seeds=range(images),
            negative={outer: text[:images].flip(1) for outer in how.family.text_inputs.values()},
        )
        now = latents
        with interventions(transformer, state, configs, TextRecord(state)):
            for step in range(steps):
                velocity = transformer(
                    hidden_states=torch.cat([now] * model.branches),
                    timestep=torch.full((rows,), 1.0 - step / steps, device=device),
                    encoder_hidden_states=text,
                    return_dict=False,
                    **others,
                )[0]
                negative, positive = velocity[:images], velocity[-images:]
                now = now - (negative + 3.5 * (positive - negative)) / steps

    return run
