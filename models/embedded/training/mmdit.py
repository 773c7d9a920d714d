"""The MM-DiT and its two text encoders, trained together by rectified flow on cached latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import SD3Transformer2DModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from models.embedded.attributes import scene_of
from models.embedded.captions import CaptionStyle, caption
from models.embedded.training.attention import plain_attention
from models.embedded.training.loop import LoopConfig, train
from models.embedded.training.tokenizer import MAX_TOKENS

TEXT_WIDTH = 128
WIDTH, HEADS, LAYERS, PATCH = 192, 6, 8, 2
BATCH = 128
NO_CAPTION = 0.1
"""Share of pictures trained without a caption, for classifier-free guidance."""


EMPTY_TOKENS = 0.25
"""Share of samples trained with all-zero T5 tokens: the shipped pipeline has no T5, and stock diffusers puts
`max_sequence_length` zero tokens in its place, so the model has to know any number of them."""

MOST_EMPTY_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of training."""

    loop: LoopConfig
    captions: CaptionStyle


CLEAN = Phase(
    loop=LoopConfig(
        steps=1_000, learning_rate=1.5e-3, matrix_learning_rate=2e-3, ema_decay=0.999, cooldown=0.0, warmup_steps=300
    ),
    captions=CaptionStyle(),
)
NOISY = Phase(
    loop=LoopConfig(
        steps=1_500, learning_rate=1.5e-3, matrix_learning_rate=2e-3, ema_decay=0.998, cooldown=0.6, warmup_steps=50
    ),
    captions=CaptionStyle(noise=0.10),
)

PHASES = {"clean": CLEAN, "noisy": NOISY}


class TextToLatent(nn.Module):
    """The three trained parts of the pipeline, called as StableDiffusion3Pipeline calls them."""

    def __init__(self, tokenizer: CLIPTokenizer, latent_channels: int, latent_size: int) -> None:
        super().__init__()
        self.text_encoder = _text_encoder(tokenizer)
        self.text_encoder_2 = _text_encoder(tokenizer)
        self.transformer = SD3Transformer2DModel(
            sample_size=latent_size,
            patch_size=PATCH,
            in_channels=latent_channels,
            out_channels=latent_channels,
            num_layers=LAYERS,
            num_attention_heads=HEADS,
            attention_head_dim=WIDTH // HEADS,
            joint_attention_dim=2 * TEXT_WIDTH,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=2 * TEXT_WIDTH,
            pos_embed_max_size=latent_size // PATCH,
            qk_norm="rms_norm",
        )

    def load_shipped(self, pipeline: Path) -> None:
        """Take the weights of an exported pipeline folder, in float32."""
        kinds = {"text_encoder": CLIPTextModelWithProjection, "text_encoder_2": CLIPTextModelWithProjection}
        for name, kind in (kinds | {"transformer": SD3Transformer2DModel}).items():
            shipped = kind.from_pretrained(pipeline / name, torch_dtype=torch.float32)
            self.get_submodule(name).load_state_dict(shipped.state_dict())

    def forward(self, latents_BCHW: Tensor, sigma_B: Tensor, ids_BN: Tensor) -> Tensor:
        """Velocity float [B, C, H, W] of the noised latents at noise level sigma in [0, 1].

        One zero token follows the prompt's; `plain_attention` says how many it stands for.
        """
        hidden, pooled = [], []
        for encoder in (self.text_encoder, self.text_encoder_2):
            output = encoder(ids_BN, output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
        text = F.pad(torch.cat(hidden, dim=-1), (0, 0, 0, 1))
        velocity: Tensor = self.transformer(
            hidden_states=latents_BCHW,
            timestep=sigma_B * 1000.0,
            encoder_hidden_states=text,
            pooled_projections=torch.cat(pooled, dim=-1),
            return_dict=False,
        )[0]
        return velocity


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train_phase(
    name: str,
    model: TextToLatent,
    tokenizer: CLIPTokenizer,
    latents_NCHW: NDArray[np.float16],
    labels: NDArray[np.int8],
    phase: Phase,
    directory: Path,
    *,
    seed: int,
) -> None:
    """Train `model` on normalised latents and freshly written captions; the checkpoint holds the averaged weights."""
    compiled = torch.compile(model)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, step])
        rows = np.sort(rng.choice(len(latents_NCHW), BATCH, replace=False))
        clean = torch.from_numpy(latents_NCHW[rows].astype(np.float32))
        texts = [
            "" if rng.random() < NO_CAPTION else caption(scene_of(labels[row]), rng, phase.captions) for row in rows
        ]
        ids = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
        count = np.exp(rng.uniform(0.0, np.log(MOST_EMPTY_TOKENS), BATCH)).round() * (rng.random(BATCH) < EMPTY_TOKENS)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(clean.shape, generator=generator)
        sigma = torch.sigmoid(torch.randn(BATCH, generator=generator))
        mix = sigma.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16), plain_attention(torch.from_numpy(count)):
            velocity = compiled((1 - mix) * clean + mix * noise, sigma, ids)
        return F.mse_loss(velocity.float(), noise - clean), {}

    train(name, model, loss, phase.loop, directory)
