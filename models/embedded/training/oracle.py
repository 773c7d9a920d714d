"""Training of the oracle on balanced renders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.embedded.attributes import ABSENT, HEADS
from models.embedded.oracle import OracleNet
from models.embedded.training.data import RenderedSet
from models.embedded.training.loop import LoopConfig, train
from models.embedded.training.vae import to_model_range

LOOP = LoopConfig(steps=1600, learning_rate=1.5e-3, ema_decay=0.998, cooldown=0.5, weight_decay=0.02)
BATCH = 96


def train_oracle(data: RenderedSet, directory: Path, *, seed: int, loop: LoopConfig = LOOP) -> OracleNet:
    """Train on balanced renders, with the blur, noise and shade that a generator's pictures have."""
    torch.manual_seed(seed)
    net = OracleNet().to(memory_format=torch.channels_last)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, step])
        rows = np.sort(rng.choice(len(data.images), BATCH, replace=False))
        pixels = _disturb(to_model_range(data.images[rows]), step)
        labels = torch.from_numpy(data.labels[rows].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(pixels.contiguous(memory_format=torch.channels_last))
        total = torch.stack(
            [F.cross_entropy(logits[name].float(), labels[:, i], ignore_index=ABSENT) for i, name in enumerate(HEADS)]
        ).sum()
        return total, {"right": accuracy(logits, data.labels[rows])}

    net.load_state_dict(train("oracle", net, loss, loop, directory))
    return net.eval()


def accuracy(logits: dict[str, Tensor], labels: NDArray[np.int8]) -> float:
    """Share of the attributes present in `labels` int8 [n, 10] that the logits name rightly."""
    guesses = torch.stack([logits[name].argmax(-1) for name in HEADS], dim=1).numpy()
    present = labels != ABSENT
    return float((guesses == labels)[present].mean())


def _disturb(pixels_BCHW: Tensor, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    count = len(pixels_BCHW)
    blurred = F.avg_pool2d(F.pad(pixels_BCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = 0.7 * torch.rand((count, 1, 1, 1), generator=generator)
    noise = 0.12 * torch.rand((count, 1, 1, 1), generator=generator)
    shade = 0.08 * torch.randn((count, 3, 1, 1), generator=generator)
    grain = torch.randn(pixels_BCHW.shape, generator=generator)
    return (pixels_BCHW * (1 - blur) + blurred * blur + shade + noise * grain).clamp(-1, 1)
