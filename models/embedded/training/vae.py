"""The autoencoder: 64x64 RGB pictures <-> 16x16 latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.embedded.render import IMAGE_SIZE
from models.embedded.training.loop import LoopConfig, train

LATENT_CHANNELS = 6
LATENT_SIZE = IMAGE_SIZE // 4
LOOP = LoopConfig(steps=2500, learning_rate=1.5e-3, ema_decay=0.998, cooldown=0.4, weight_decay=1e-4)
CROP_PX, CROP_BATCH, WHOLE_BATCH = 32, 32, 16
WHOLE_FROM = 0.75
"""The convolutions see the same pixels in a crop as in a whole picture, so most of the run uses many small crops; the
last quarter uses whole pictures, for the group norms."""

_LATENT_NOISE = 0.08
_KL_WEIGHT = 1e-4


def build() -> AutoencoderKL:
    """The untrained autoencoder: 4 x 4 pixels per latent place."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def to_model_range(images_NHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images_NHWC)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def train_vae(images: NDArray[np.uint8], directory: Path, *, seed: int, loop: LoopConfig = LOOP) -> AutoencoderKL:
    """Train on `images` uint8 [n, 64, 64, 3]; returns the model with averaged weights.

    Loss: L1 + 2 MSE + a small KL term. Noise is added to the latents before decoding, so that the decoder forgives the
    small errors of a diffusion model; it is relative to the batch's own spread, so the encoder cannot outgrow it.
    """
    torch.manual_seed(seed)
    model = build().to(memory_format=torch.channels_last)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, step])
        whole = step >= WHOLE_FROM * loop.steps
        rows = np.sort(rng.choice(len(images), WHOLE_BATCH if whole else CROP_BATCH, replace=False))
        pixels = to_model_range(images[rows])
        if not whole:
            corners = rng.integers(0, pixels.shape[-1] - CROP_PX + 1, size=(len(rows), 2))
            pixels = torch.stack(
                [p[:, y : y + CROP_PX, x : x + CROP_PX] for p, (y, x) in zip(pixels, corners, strict=True)]
            )
        noise_rng = torch.Generator().manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist
            mean = posterior.mean.float()
            noise = torch.randn(mean.shape, generator=noise_rng)
            latents = mean + _LATENT_NOISE * mean.detach().std() * noise
            decoded = model.decode(latents).sample.float()
        mse = F.mse_loss(decoded, pixels)
        kl = 0.5 * (mean.square() + posterior.logvar.exp().float() - 1 - posterior.logvar.float()).mean()
        psnr = -10 * np.log10(max(1e-9, mse.item() / 4))
        return F.l1_loss(decoded, pixels) + 2 * mse + _KL_WEIGHT * kl, {"psnr": psnr}

    model.load_state_dict(train("vae", model, loss, loop, directory))
    return model.eval()
