"""Starting noise with more power in low frequencies, so that images differ in layout as well as in detail: noise like
1/f raises diversity before anything else does (arXiv 2601.00090).

The sampler keeps the latents that it drew. In the first step the model sees the coloured ones, and its prediction is
turned so that the sampler's step, a straight one, ends where it would have from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.interventions.base import Call, CallEdit, Control, Edit, Intervention
from models.spec import InterventionConfig, require

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising
    from models.info import ModelInfo

_STRAIGHT = "FlowMatchEulerDiscreteScheduler"


@dataclass(frozen=True, kw_only=True)
class PinkStartConfig(InterventionConfig):
    """The colour of the starting noise."""

    exponent: float = 0.2
    """Its power falls with the spatial frequency f as 1 / f^exponent, 0 to 4; 0 is white, 1 pink. The noise keeps its
    mean square. The default is not tuned."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.exponent) and 0.0 <= self.exponent <= 4.0, self, "exponent", "needs 0 to 4")


def _begin(config: PinkStartConfig, run: Denoising) -> Sequence[Edit]:
    name = type(run.scheduler).__name__
    if name != _STRAIGHT:
        raise ModelError(f"pink_start needs the sampler {_STRAIGHT}; {run.family.name} has a {name} here")
    change: list[Tensor] = []

    def before(call: Call) -> None:
        latents = call.latents
        if latents.dim() < 4:
            raise ModelError(f"pink_start needs latents with rows and columns; {run.family.name} packs them")
        if run.noise_level < 1.0 - 1e-3:
            raise ModelError("pink_start needs images that begin from noise alone, not from a picture")
        change[:] = [coloured(latents, config.exponent) - latents]
        call.latents = latents + change[0]

    def after(call: Call, predicted: Tensor) -> Tensor:
        # One step moves the latents by (next level - level) * prediction.
        sigmas = run.scheduler.sigmas
        at = len(sigmas) - 1 - run.steps
        drawn = change[0][:, : predicted.shape[1]].float()  # channels behind them are a condition's, and 0 here
        turned: Tensor = predicted + (drawn / (sigmas[at + 1] - sigmas[at])).to(predicted.dtype)
        return turned

    return [CallEdit(before=before, after=after, steps=(0,))]


def coloured(noise: Tensor, exponent: float) -> Tensor:
    """White noise with the power of its spatial frequencies changed, at the same mean square, in the noise's dtype.

    noise: float [..., H, W].
    exponent: as `PinkStartConfig.exponent`. The mean, whose frequency is 0, counts as the lowest other frequency.
    """
    import torch

    height, width = noise.shape[-2:]
    across = torch.fft.rfftfreq(width, device=noise.device)
    down = torch.fft.fftfreq(height, device=noise.device)
    frequency = (down[:, None].square() + across.square()).sqrt().clamp_min(1.0 / max(height, width))
    gain = frequency ** (-exponent / 2)
    # Columns between the first and the middle one stand for two frequencies each.
    twice = torch.full((width // 2 + 1,), 2.0, device=noise.device)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    gain = gain / ((gain.square() * twice).sum() / (height * width)).sqrt()
    changed: Tensor = torch.fft.irfft2(torch.fft.rfft2(noise.float()) * gain, s=(height, width))
    return changed.to(noise.dtype)


def _refusal(info: ModelInfo) -> str:
    if info.packed:
        return f"it needs latents with rows and columns; {info.family} packs them"
    needs = f"it needs the sampler {_STRAIGHT}; {info.family} has a {info.scheduler} here"
    return "" if info.scheduler == _STRAIGHT else needs


PINK_START = Intervention(
    name="pink_start",
    title="pink start",
    purpose="starting noise with more power in low frequencies",
    meaning="all settings of the pink start; null where it is off",
    config=PinkStartConfig,
    begin=_begin,
    refusal=_refusal,
    controls=(Control(field="exponent", label="Exponent, 0 is white noise", low=0.0, high=2.0, step=0.05),),
)
