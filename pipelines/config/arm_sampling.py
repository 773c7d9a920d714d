"""What an arm of a run or of an experiment changes of the table [sampling]: few steps against many, or several scales
of guidance, side by side."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from models.spec import Sampling


@dataclass(frozen=True, kw_only=True)
class ArmSampling:
    """Settings of `Sampling` in place of those of the run or experiment, and of a row's own; None keeps those.

    An arm is what is compared, so that what it says holds for every prompt. Arms share prompts, seeds and sizes.
    """

    steps: int | None = None
    """Denoising steps. A sampler with noise levels (`sigmas`) needs as many of them."""
    sigmas: tuple[float, ...] | None = None
    """Noise levels of the steps; () is the sampler's own."""
    guidance_scale: float | None = None
    """Scale of classifier-free guidance."""
    negative_prompt: str | None = None
    """What guidance leads away from."""

    def given(self) -> dict[str, Any]:
        """What the arm says."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}

    def of(self, sampling: Sampling) -> Sampling:
        """The sampling of the arm.

        sampling: of the run or experiment, or of one of its rows.

        Raises:
            ValueError: when both together are out of range.
        """
        own = self.given()
        return replace(sampling, **own) if own else sampling


def check_sampling(arm: str, own: ArmSampling, sampling: Sampling) -> None:
    """Check that what an arm says fits the sampling that it changes.

    arm: its name.
    own: what it says.
    sampling: of the run, or of the experiment.

    Raises:
        ValueError: when both together are out of range.
    """
    try:
        own.of(sampling)
    except ValueError as error:
        raise ValueError(f"arms.{arm}.sampling: {error}") from None
