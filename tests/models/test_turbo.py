"""The distillation of the embedded model: what its student learns from, who learns when, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from transformers import CLIPTokenizer

from models.embedded import WEIGHTS
from models.embedded.training import trajectories, turbo, vae
from models.embedded.training.mmdit import TextToLatent
from models.embedded.training.tokenizer import build_tokenizer

pytest.importorskip("peft")

Loss = Callable[[int], tuple[torch.Tensor, dict[str, float]]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def teacher(tokenizer: CLIPTokenizer) -> TextToLatent:
    model = TextToLatent(tokenizer, vae.LATENT_CHANNELS, vae.LATENT_SIZE)
    model.load_shipped(WEIGHTS / "pipeline")
    return model.requires_grad_(False)


def learns(student: Any) -> set[str]:
    return {name.split(".")[-3] for name, p in student.named_parameters() if p.grad is not None and p.grad.any()}


@torch.no_grad()
def test_stock_diffusers_draws_what_the_student_draws(
    teacher: TextToLatent, tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    student = turbo.with_lora(teacher.transformer)
    torch.manual_seed(0)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.05)
    turbo.save_lora(student.state_dict(), tmp_path)
    pipe = StableDiffusion3Pipeline.from_pretrained(
        WEIGHTS / "pipeline", text_encoder_3=None, tokenizer_3=None, torch_dtype=torch.float32
    )
    shape = student.config
    noise_BCHW = torch.randn(1, shape.in_channels, shape.sample_size, shape.sample_size)

    def drawn() -> torch.Tensor:
        made: torch.Tensor = pipe(
            "a red star",
            height=64,
            width=64,
            num_inference_steps=len(trajectories.LEVELS),
            sigmas=list(trajectories.LEVELS),
            guidance_scale=1.0,
            max_sequence_length=0,
            latents=noise_BCHW,
            output_type="latent",
        ).images
        return made

    before = drawn()
    pipe.load_lora_weights(tmp_path)
    after = drawn()
    text = trajectories.text_of(teacher, trajectories.ids_of(["a red star"], tokenizer))
    own = turbo.draw(student, noise_BCHW, text, len(trajectories.LEVELS) - 1)
    # The student computes in bfloat16.
    assert (own - after).abs().mean() < 0.1 * (after - before).abs().mean()


def test_trajectories_end_where_many_small_steps_end(
    teacher: TextToLatent, tokenizer: CLIPTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectories, "SHARD", 2)
    (file,) = trajectories.draw_trajectories(teacher, tokenizer, tmp_path, seed=3, shards=1)
    kept = torch.load(file, weights_only=True)
    text, nothing = (
        trajectories.text_of(teacher, ids) for ids in (kept["ids"], trajectories.ids_of(["", ""], tokenizer))
    )
    latents = start = kept["latents"][:, 0].float()
    steps = 40
    for step in range(steps):
        sigma = torch.full((2,), 1 - step / steps)
        latents = latents - trajectories.guided(teacher.transformer, latents, sigma, text, nothing) / steps
    end = kept["latents"][:, -1].float()
    assert (end - latents).abs().mean() < 0.15 * (end - start).abs().mean()
    written = file.stat().st_mtime_ns
    trajectories.draw_trajectories(teacher, tokenizer, tmp_path, seed=3, shards=1)
    assert file.stat().st_mtime_ns == written


def test_each_loss_teaches_its_own_network_alone(
    teacher: TextToLatent, tokenizer: CLIPTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[tuple[bool, bool]] = []

    def watched(name: str, module: Any, loss: Loss, config: Any, directory: Path) -> dict[str, Any]:
        for step in range(turbo.CRITIC_STEPS + 1):
            value, _ = loss(step)
            value.backward()  # type: ignore[no-untyped-call]
            taught.append((bool(learns(module.student)), bool(learns(module.critic))))
            module.zero_grad(set_to_none=True)
        return {}

    monkeypatch.setattr(turbo, "train", watched)
    student = turbo.with_lora(teacher.transformer)
    turbo.match(teacher, student, tokenizer, tmp_path, seed=0, device="cpu", loop=turbo.MATCH, batch=2, compiled=False)
    assert taught == [(True, False)] + [(False, True)] * turbo.CRITIC_STEPS


def test_following_brings_the_student_nearer_to_the_teacher(
    teacher: TextToLatent, tokenizer: CLIPTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []

    def short(name: str, module: Any, loss: Loss, config: Any, directory: Path) -> dict[str, Any]:
        optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=2e-3)
        for _ in range(6):
            value, _ = loss(0)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(value.detach()))
        return {}

    monkeypatch.setattr(turbo, "train", short)
    for module in (trajectories, turbo):
        monkeypatch.setattr(module, "SHARD" if module is trajectories else "BATCH", 4)
    files = trajectories.draw_trajectories(teacher, tokenizer, tmp_path, seed=3, shards=1)
    student = turbo.with_lora(teacher.transformer)
    turbo.follow(teacher, student, files, tmp_path, seed=0, device="cpu", loop=turbo.FOLLOW)
    assert losses[-1] < 0.8 * losses[0]
