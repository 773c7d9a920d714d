"""CADS: noise on the condition, annealed away (Sadat et al., arXiv 2310.17347, section 4, algorithm 1)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.interventions.base import Call, CallEdit, Control, Edit, Intervention, needs_flow_matching
from models.spec import Interval, InterventionConfig, require, require_interval

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising


@dataclass(frozen=True, kw_only=True)
class CadsConfig(InterventionConfig):
    """Noise on the positive text and its pooled vector."""

    weight: float = 0.1
    """The paper's noise scale s, 0 or more; 0 is none."""
    steps: Interval = (0.1, 0.4)
    """Share of the denoising over which the noise goes from full to none: the paper's (1 - tau_2, 1 - tau_1)."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.weight) and self.weight >= 0.0, self, "weight", "needs 0 or more")
        require_interval(self, "steps")


def _begin(config: CadsConfig, run: Denoising) -> Sequence[Edit]:
    import torch

    run.require_flow_matching("cads")
    names = [name for name in (*run.family.text_inputs, run.family.pooled_input) if name]

    def noise(like: Tensor, seed: int, purpose: int) -> Tensor:
        """Standard normal, from the image's own seed, the step and the purpose alone."""
        key = f"{seed}\0{run.step}\0{purpose}".encode()
        state = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(state)).to(like.device)

    def annealed(text: Tensor, mask: Tensor | None, purpose: int) -> Tensor:
        """The text of all images. mask: of the tokens that are not padding, which the longest prompt of a batch
        decides; an image's noise must not."""
        changed = text.clone()
        for row, seed in enumerate(run.seeds):
            own = slice(None) if mask is None else slice(int(mask[row].sum()))
            part = text[row, own]
            changed[row, own] = anneal(part, noise(part, seed, purpose), run.noise_level, config)
        return changed

    def before(call: Call) -> None:
        for purpose, name in enumerate(names):
            text, mask = call.kwargs.get(name), call.kwargs.get(f"{name}_mask")
            if text is None or "cond" not in run.branches or not text.is_floating_point():  # masks stay
                continue
            parts = run.parts(text)
            own_mask = None if mask is None else run.parts(mask)["cond"]
            parts["cond"] = annealed(parts["cond"], own_mask, purpose)
            call.kwargs[name] = torch.cat(list(parts.values()))

    return [CallEdit(before=before, steps=range(run.steps))]


def anneal(text: Tensor, noise: Tensor, level: float, config: CadsConfig) -> Tensor:
    """The text of one image with noise, rescaled to its own mean and standard deviation (CADS, algorithm 1).

    text: float, of any shape.
    noise: standard normal, of the same shape.
    level: share of noise in the latents, 1 at the start and 0 at the end.
    config: the settings.
    """
    start, stop = 1.0 - config.steps[0], 1.0 - config.steps[1]
    gamma = min(1.0, max(0.0, (start - level) / (start - stop)))
    if gamma == 1.0:
        return text
    wide = text.float()
    noised = math.sqrt(gamma) * wide + config.weight * math.sqrt(1.0 - gamma) * noise.float()
    standard = (noised - noised.mean()) / noised.std()
    rescaled: Tensor = (standard * wide.std() + wide.mean()).to(text.dtype)
    return rescaled


CADS = Intervention(
    name="cads",
    title="CADS",
    purpose="noise on the condition, annealed away",
    meaning="all settings of CADS; null where it is off",
    config=CadsConfig,
    begin=_begin,
    refusal=needs_flow_matching,
    controls=(Control(field="weight", label="Noise", low=0.0, high=1.0, step=0.01),),
)
