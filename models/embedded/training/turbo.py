"""A LoRA that has the MM-DiT draw in four steps without guidance, in two phases.

First the student learns to go in one step as far as the guided teacher goes in several (progressive distillation,
2202.00512, of a guided model, 2210.03142; all levels at once). Then the distribution of what it draws is matched to the
teacher's: DMD2 (2405.14867, section 4) without its adversarial loss. The student's pictures are moved along the
difference of two scores, the teacher's and that of the student's own pictures, which a critic learns beside it on a
faster clock (section 4.2), from what the student really draws (section 4.4, backward simulation). No training picture
is needed, only captions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from models.embedded.training.loop import LoopConfig, train
from models.embedded.training.mmdit import TextToLatent
from models.embedded.training.trajectories import (
    LEVELS,
    Text,
    captions_of,
    draw_trajectories,
    guided,
    ids_of,
    text_of,
    velocity,
)

RANK = 24
ADAPTER = "turbo"
BATCH = 64
CRITIC_STEPS = 2
"""Steps of the critic for each one of the student."""
TRAJECTORIES = 120
"""Files of trajectories."""
FOLLOW = LoopConfig(steps=1_200, learning_rate=2e-3, ema_decay=0.995, cooldown=0.6, warmup_steps=50, weight_decay=0.0)
MATCH = LoopConfig(steps=900, learning_rate=5e-4, ema_decay=0.99, cooldown=0.5, warmup_steps=50, weight_decay=0.0)


def with_lora(transformer: Any) -> Any:
    """A copy whose weights are those of the transformer, and stay; a LoRA on all of its linear layers learns."""
    made = copy.deepcopy(transformer)
    linear = [name for name, part in made.named_modules() if isinstance(part, nn.Linear)]
    made.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=linear), ADAPTER)
    return made


def draw(student: Any, noise_BCHW: Tensor, text: Text, step: int) -> Tensor:
    """The student's picture as it predicts it at one of its steps, from the noise through the steps before it."""
    latents_BCHW = noise_BCHW
    with torch.no_grad():
        for start, stop in pairwise(LEVELS[: step + 1]):
            slope = velocity(student, latents_BCHW, _level(start, latents_BCHW), text)
            latents_BCHW = latents_BCHW - (start - stop) * slope
    sigma_B = _level(LEVELS[step], latents_BCHW)
    return latents_BCHW - LEVELS[step] * velocity(student, latents_BCHW, sigma_B, text)


def _level(sigma: float, latents_BCHW: Tensor) -> Tensor:
    return latents_BCHW.new_full((len(latents_BCHW),), sigma)


def follow(
    teacher: TextToLatent, student: Any, files: list[Path], directory: Path, *, seed: int, device: str, loop: LoopConfig
) -> dict[str, Tensor]:
    """Phase one, on files of trajectories: the student's averaged weights."""
    shards = [torch.load(file, weights_only=True) for file in files]
    ids = torch.cat([shard["ids"] for shard in shards])
    latents = torch.cat([shard["latents"] for shard in shards])
    levels = torch.tensor([*LEVELS, 0.0])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = torch.randint(len(ids), (BATCH,), generator=generator)
        at = torch.randint(len(LEVELS), (BATCH,), generator=generator)
        here, there = latents[rows, at].float().to(device), latents[rows, at + 1].float().to(device)
        sigma_B, length_B = levels[at].to(device), (levels[at] - levels[at + 1]).to(device)
        made = velocity(student, here, sigma_B, text_of(teacher, ids[rows].to(device)))
        return F.mse_loss(made, (here - there) / length_B.view(-1, 1, 1, 1)), {}

    return train("turbo-follow", student, loss, loop, directory)


class Matching(nn.Module):
    """What learns in phase two, and what the student has drawn last, from which the critic learns."""

    drawn_BCHW: Tensor

    def __init__(self, student: Any, critic: Any, batch: int) -> None:
        super().__init__()
        self.student, self.critic = student, critic
        shape = student.config
        self.register_buffer("drawn_BCHW", torch.zeros(batch, shape.in_channels, shape.sample_size, shape.sample_size))


def match(
    teacher: TextToLatent,
    student: Any,
    tokenizer: CLIPTokenizer,
    directory: Path,
    *,
    seed: int,
    device: str,
    loop: LoopConfig,
    batch: int = BATCH,
    compiled: bool = True,
) -> dict[str, Tensor]:
    """Phase two: the averaged weights of a `Matching`."""
    both = Matching(student, with_lora(teacher.transformer), batch).to(device)
    if compiled:
        both.critic.compile()

    def text(captions: list[str]) -> Text:
        return text_of(teacher, ids_of(captions, tokenizer).to(device))

    nothing = text([""] * batch)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        turn, place = divmod(step, CRITIC_STEPS + 1)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        # The critic sees the captions whose pictures it is given.
        rng = np.random.default_rng([seed, turn])
        named = text(captions_of(rng, batch))
        noise_BCHW = torch.randn(both.drawn_BCHW.shape, generator=generator).to(device)
        sigma_B = torch.sigmoid(torch.randn(batch, generator=generator)).to(device)
        mix = sigma_B.view(-1, 1, 1, 1)
        if place == 0:
            drawn_BCHW = draw(both.student, noise_BCHW, named, int(rng.integers(len(LEVELS))))
            both.drawn_BCHW.copy_(drawn_BCHW.detach())
            again_BCHW = torch.randn(drawn_BCHW.shape, generator=generator).to(device)
            with torch.no_grad():
                noised_BCHW = (1 - mix) * drawn_BCHW + mix * again_BCHW
                own = velocity(both.critic, noised_BCHW, sigma_B, named)
                wanted = guided(teacher.transformer, noised_BCHW, sigma_B, named, nothing)
                # What either takes for the clean picture is noised - sigma * velocity.
                away_BCHW = drawn_BCHW - (noised_BCHW - mix * wanted)
                size = away_BCHW.abs().mean(dim=(1, 2, 3), keepdim=True)
                push = mix * (wanted - own) / size
            return 0.5 * F.mse_loss(drawn_BCHW, drawn_BCHW.detach() - push), {"push": float(push.abs().mean())}
        made = velocity(both.critic, (1 - mix) * both.drawn_BCHW + mix * noise_BCHW, sigma_B, named)
        error = F.mse_loss(made, noise_BCHW - both.drawn_BCHW)
        return error, {"critic": float(error.detach())}

    return train("turbo", both, loss, loop, directory)


def distil(
    teacher: TextToLatent,
    tokenizer: CLIPTokenizer,
    directory: Path,
    *,
    seed: int,
    device: str = "cpu",
    shards: int = TRAJECTORIES,
    phases: tuple[LoopConfig, LoopConfig] = (FOLLOW, MATCH),
) -> dict[str, Tensor]:
    """Both phases; returns the student's averaged weights. Each resumes as `train` does."""
    torch.manual_seed(seed)
    teacher = teacher.requires_grad_(False).to(device)
    student = with_lora(teacher.transformer).to(device)
    teacher.transformer.compile()
    student.compile()
    files = draw_trajectories(teacher, tokenizer, directory / "trajectories", seed=seed, shards=shards, device=device)
    student.load_state_dict(follow(teacher, student, files, directory, seed=seed, device=device, loop=phases[0]))
    weights = match(teacher, student, tokenizer, directory, seed=seed, device=device, loop=phases[1])
    return {name.removeprefix("student."): value for name, value in weights.items() if name.startswith("student.")}


def save_lora(student: Mapping[str, Tensor], directory: Path) -> None:
    """Write the student's LoRA as a file that diffusers' `load_lora_weights` reads, in half precision.

    student: its weights.
    """
    lora = {
        name.replace(f".{ADAPTER}.", "."): value.half().cpu().contiguous()
        for name, value in student.items()
        if f".{ADAPTER}." in name
    }
    StableDiffusion3Pipeline.save_lora_weights(directory, transformer_lora_layers=lora)
