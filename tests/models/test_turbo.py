"""The distillation of the embedded model: who learns when, and what stock diffusers makes of the result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from models.embedded import WEIGHTS
from models.embedded.training import turbo, vae
from models.embedded.training.mmdit import TextToLatent
from models.embedded.training.tokenizer import MAX_TOKENS, build_tokenizer

pytest.importorskip("peft")


def teacher(folder: Path) -> TextToLatent:
    model = TextToLatent(build_tokenizer(folder), vae.LATENT_CHANNELS, vae.LATENT_SIZE)
    model.load_shipped(WEIGHTS / "pipeline")
    return model


@torch.no_grad()
def test_stock_diffusers_draws_what_the_student_draws(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    student = turbo.Distillation(teacher(tmp_path), batch=1)
    torch.manual_seed(0)
    for name, parameter in student.named_parameters():
        if f"lora_B.{turbo.STUDENT}" in name:
            parameter.normal_(std=0.02)
    turbo.save_lora(student.state_dict(), tmp_path / "lora")
    pipe = StableDiffusion3Pipeline.from_pretrained(
        WEIGHTS / "pipeline", text_encoder_3=None, tokenizer_3=None, torch_dtype=torch.float32
    )
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, shift_terminal=1 / turbo.STEPS)
    noise_BCHW = torch.randn_like(student.drawn_BCHW)
    settings = {"height": 64, "width": 64, "num_inference_steps": turbo.STEPS, "guidance_scale": 1.0}

    def drawn() -> torch.Tensor:
        made: torch.Tensor = pipe(
            "a red star", **settings, max_sequence_length=0, latents=noise_BCHW, output_type="latent"
        ).images
        return made

    before = drawn()
    pipe.load_lora_weights(tmp_path / "lora")
    after = drawn()
    ids = tokenizer(["a red star"], padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
    own = student.draw(noise_BCHW, student.texts(ids), turbo.STEPS - 1)
    # The student computes in bfloat16.
    assert (own - after).abs().mean() < 0.1 * (after - before).abs().mean()


def test_each_loss_teaches_its_own_lora_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learning: list[set[str]] = []

    def watched(name, module, loss, config, directory):  # type: ignore[no-untyped-def]
        for step in range(turbo.CRITIC_STEPS + 1):
            value, _ = loss(step)
            value.backward()
            learning.append({part.split(".")[-2] for part, p in module.named_parameters() if p.grad is not None})
            module.zero_grad(set_to_none=True)
        return {}

    monkeypatch.setattr(turbo, "train", watched)
    turbo.distil(teacher(tmp_path), build_tokenizer(tmp_path), tmp_path, seed=0, batch=2)
    assert learning == [{turbo.STUDENT}] + [{turbo.CRITIC}] * turbo.CRITIC_STEPS
