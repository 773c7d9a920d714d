"""A LoRA that has the MM-DiT draw in four steps without guidance: distribution matching distillation.

DMD2 (2405.14867, section 4) without its adversarial loss: the pictures of the four-step student are moved along the
difference of two scores, the guided teacher's and that of the student's own pictures, which a third network learns
beside it on a faster clock (section 4.2), from what the student really draws (section 4.4, backward simulation). All
three are one transformer: the teacher is its weights, the student and the third network are LoRAs on them. No training
picture is needed, only captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from models.embedded.captions import caption
from models.embedded.training.attention import plain_attention
from models.embedded.training.loop import LoopConfig, train
from models.embedded.training.mmdit import NOISY, TextToLatent
from models.embedded.training.tokenizer import MAX_TOKENS
from models.embedded.world import sample_scene

STUDENT, CRITIC = "turbo", "critic"
RANK = 24
STEPS = 4
GUIDANCE = 4.0
"""Of the teacher, as it is sampled."""
BATCH = 64
CRITIC_STEPS = 4
"""Steps of the critic for each one of the student."""
LOOP = LoopConfig(steps=10_000, learning_rate=1e-3, ema_decay=0.998, cooldown=0.5, warmup_steps=100, weight_decay=0.0)


class Distillation(nn.Module):
    """The transformer with both LoRAs, and what the student has drawn last, from which the critic learns."""

    drawn_BCHW: Tensor

    def __init__(self, teacher: TextToLatent, batch: int) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.transformer: Any = teacher.transformer
        shape = self.transformer.config
        linear = [name for name, part in self.transformer.named_modules() if isinstance(part, nn.Linear)]
        for adapter in (STUDENT, CRITIC):
            self.transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=linear), adapter)
        self._learn()
        self.register_buffer("drawn_BCHW", torch.zeros(batch, shape.in_channels, shape.sample_size, shape.sample_size))

    @contextmanager
    def acting(self, adapter: str | None) -> Iterator[None]:
        """Run the body with one LoRA, or as the teacher."""
        if adapter is None:
            self.transformer.disable_adapters()
        else:
            self.transformer.enable_adapters()
            self.transformer.set_adapter(adapter)
        # peft freezes the others, which would cost the student the gradient of what it drew before the critic acted.
        self._learn()
        yield

    def _learn(self) -> None:
        for name, parameter in self.transformer.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def velocity(self, latents_BCHW: Tensor, sigma_B: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        """Velocity float32 [B, C, H, W] of whatever acts."""
        states_BND, pooled_BD = text
        with torch.autocast(latents_BCHW.device.type, torch.bfloat16), plain_attention():
            made: Tensor = self.transformer(
                hidden_states=latents_BCHW,
                timestep=sigma_B * 1000.0,
                encoder_hidden_states=states_BND,
                pooled_projections=pooled_BD,
                return_dict=False,
            )[0]
        return made.float()

    def draw(self, noise_BCHW: Tensor, text: tuple[Tensor, Tensor], step: int) -> Tensor:
        """The student's picture as it predicts it at one of its steps, from the noise through the steps before it."""
        latents_BCHW = noise_BCHW
        with self.acting(STUDENT):
            with torch.no_grad():
                for earlier in range(step):
                    velocity = self.velocity(latents_BCHW, _level(earlier, latents_BCHW), text)
                    latents_BCHW = latents_BCHW - velocity / STEPS
            sigma_B = _level(step, latents_BCHW)
            return latents_BCHW - sigma_B.view(-1, 1, 1, 1) * self.velocity(latents_BCHW, sigma_B, text)

    def texts(self, ids_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states and pooled vectors of captions, as the pipeline gives them to the transformer."""
        with torch.no_grad():
            outputs = [
                encoder(ids_BN, output_hidden_states=True)
                for encoder in (self.teacher.text_encoder, self.teacher.text_encoder_2)
            ]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return states, torch.cat([output.text_embeds for output in outputs], dim=-1)


def _level(step: int, latents_BCHW: Tensor) -> Tensor:
    return latents_BCHW.new_full((len(latents_BCHW),), 1.0 - step / STEPS)


def distil(
    teacher: TextToLatent,
    tokenizer: CLIPTokenizer,
    directory: Path,
    *,
    seed: int,
    device: str = "cpu",
    loop: LoopConfig = LOOP,
    batch: int = BATCH,
) -> dict[str, Tensor]:
    """Train the student on a teacher; returns the averaged weights of a `Distillation`. It resumes as `train` does."""
    torch.manual_seed(seed)
    both = Distillation(teacher, batch).to(device)

    def text_of(captions: list[str]) -> tuple[Tensor, Tensor]:
        ids = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
        return both.texts(ids.to(device))

    nothing = text_of([""] * batch)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        turn, place = divmod(step, CRITIC_STEPS + 1)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        # The critic sees the captions whose pictures it is given.
        rng = np.random.default_rng([seed, turn])
        text = text_of([caption(sample_scene(rng), rng, NOISY.captions) for _ in range(batch)])
        noise_BCHW = torch.randn(both.drawn_BCHW.shape, generator=generator).to(device)
        sigma_B = torch.sigmoid(torch.randn(batch, generator=generator)).to(device)
        mix = sigma_B.view(-1, 1, 1, 1)
        if place == 0:
            drawn_BCHW = both.draw(noise_BCHW, text, int(rng.integers(STEPS)))
            both.drawn_BCHW.copy_(drawn_BCHW.detach())
            again_BCHW = torch.randn(drawn_BCHW.shape, generator=generator).to(device)
            with torch.no_grad():
                noised_BCHW = (1 - mix) * drawn_BCHW + mix * again_BCHW
                with both.acting(CRITIC):
                    own = both.velocity(noised_BCHW, sigma_B, text)
                with both.acting(None):
                    named = both.velocity(noised_BCHW, sigma_B, text)
                    unnamed = both.velocity(noised_BCHW, sigma_B, nothing)
                wanted = unnamed + GUIDANCE * (named - unnamed)
                # What either takes for the clean picture is noised - sigma * velocity.
                away_BCHW = drawn_BCHW - (noised_BCHW - mix * wanted)
                size = away_BCHW.abs().mean(dim=(1, 2, 3), keepdim=True)
                push = mix * (wanted - own) / size
            return 0.5 * F.mse_loss(drawn_BCHW, drawn_BCHW.detach() - push), {"push": float(push.abs().mean())}
        with both.acting(CRITIC):
            velocity = both.velocity((1 - mix) * both.drawn_BCHW + mix * noise_BCHW, sigma_B, text)
        error = F.mse_loss(velocity, noise_BCHW - both.drawn_BCHW)
        return error, {"critic": float(error.detach())}

    return train("turbo", both, loss, loop, directory)


def save_lora(weights: Mapping[str, Tensor], directory: Path) -> None:
    """Write the student's LoRA as a file that diffusers' `load_lora_weights` reads, in half precision.

    weights: of a `Distillation`.
    """
    student = {
        name.removeprefix("transformer.").replace(f".{STUDENT}.", "."): value.half().cpu().contiguous()
        for name, value in weights.items()
        if name.startswith("transformer.") and f".{STUDENT}." in name
    }
    StableDiffusion3Pipeline.save_lora_weights(directory, transformer_lora_layers=student)
