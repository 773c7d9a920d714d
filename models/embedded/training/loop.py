"""One resumable, deterministic training loop for every part of the embedded model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

Loss = Callable[[int], tuple[Tensor, dict[str, float]]]
"""Step number -> (scalar loss, values for the progress bar). All randomness must come from the step number."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How one part is trained.

    steps: optimiser steps; learning_rate: peak for AdamW (embeddings, norms, biases, convolutions);
    matrix_learning_rate: peak for Muon, which takes the 2-D weights inside blocks but for the modulation of
    their norms (0 leaves all to AdamW);
    warmup_steps and cooldown: the rate rises linearly, stays, and falls linearly to 0 over the last `cooldown` share;
    ema_decay: decay of the weight average that is kept in the end.
    """

    steps: int
    learning_rate: float
    matrix_learning_rate: float = 0.0
    weight_decay: float = 0.01
    warmup_steps: int = 200
    cooldown: float = 0.3
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    checkpoint_every_s: float = 180.0

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at `step`."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / max(1.0, self.cooldown * self.steps))
        return rise * fall


def train(name: str, module: nn.Module, loss: Loss, config: LoopConfig, directory: Path) -> dict[str, Tensor]:
    """Train `module` in place and return the averaged weights (float32 state dict).

    A checkpoint is written to `directory` every few minutes and at the end; calling again goes on from it, and the
    result is the same as without the break. Checkpoints hold tensors and plain numbers only.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.ckpt"
    parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
    optimisers = _optimisers(parameters, config)
    average = {k: v.detach().clone().float() for k, v in module.state_dict().items()}
    start = 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["config"] | {"steps": 0} != _plain(config) | {"steps": 0}:
            raise ValueError(f"{path} was written with other settings ({saved['config']}); remove it to start again")
        module.load_state_dict(saved["module"])
        average, start = saved["average"], saved["step"]
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)

    def save(step: int) -> None:
        state: dict[str, Any] = {
            "config": _plain(config),
            "module": module.state_dict(),
            "average": average,
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "step": step,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    bar = tqdm(
        range(start, config.steps), initial=start, total=config.steps, desc=name, dynamic_ncols=True, mininterval=5
    )
    smooth: dict[str, float] = {}
    saved_at = time.monotonic()
    for step in bar:
        value, shown = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(f"{name}: the gradient is not finite at step {step}; lower the learning rate")
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * config.rate(step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        decay = min(config.ema_decay, (1 + step) / (10 + step))
        for key, current in module.state_dict().items():
            average[key].lerp_(current.detach().float(), 1 - decay)
        for key, number in (shown | {"loss": float(value.detach())}).items():
            smooth[key] = 0.98 * smooth.get(key, number) + 0.02 * number
        bar.set_postfix({k: f"{v:.4g}" for k, v in smooth.items()}, refresh=False)
        if time.monotonic() - saved_at > config.checkpoint_every_s:
            save(step + 1)
            saved_at = time.monotonic()
    save(config.steps)
    return average


def _plain(config: LoopConfig) -> dict[str, float]:
    return asdict(config)


def _optimisers(parameters: dict[str, nn.Parameter], config: LoopConfig) -> list[torch.optim.Optimizer]:
    def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
        hidden = parameter.ndim == 2 and "blocks." in name and ".norm" not in name
        return config.matrix_learning_rate > 0 and hidden

    matrices = [p for k, p in parameters.items() if is_hidden_matrix(k, p)]
    others = [p for k, p in parameters.items() if not is_hidden_matrix(k, p)]
    decayed = [p for p in others if p.ndim >= 2]
    plain = [p for p in others if p.ndim < 2]
    rate = config.learning_rate
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay, "peak": rate},
                {"params": plain, "weight_decay": 0.0, "peak": rate},
            ],
            lr=rate,
            betas=(0.9, 0.98),
        )
    ]
    if matrices:
        muon = torch.optim.Muon(
            [{"params": matrices, "peak": config.matrix_learning_rate}],
            lr=config.matrix_learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        made.append(muon)
    return made
