"""How an arm of an experiment on the embedded model draws: what all experiments share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from models.embedded.described import Expansion
from models.errors import require
from models.interventions.registry import entry_of
from models.spec import InterventionConfig, Sampling
from pipelines.config import toml


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One way to draw the pictures of every prompt."""

    name: str
    """Unique in the experiment."""
    guidance_scale: float | None = None
    """In place of that of the experiment; None keeps it."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """Further settings of `Sampling` in place of the experiment's."""
    expand: Expansion = "none"
    """Each picture is drawn from a longer text, in which words for what the prompt leaves open are drawn as in the
    training world ("typical") or evenly ("uniform"). It is judged by the prompt."""
    interventions: tuple[InterventionConfig, ...] = ()
    """Settings of those that act; in the file each has a table of its own name."""

    def __post_init__(self) -> None:
        coupled = [entry_of(c).name for c in self.interventions if entry_of(c).couples == "group"]
        require(
            self.expand == "none" or not coupled, "expand", self.expand, f"{coupled} act on pictures of the same text"
        )

    def settings(self) -> dict[str, Any]:
        """The settings that change pixels, as plain values."""
        own: dict[str, Any] = {"guidance_scale": self.guidance_scale}
        if self.sampling:
            own["sampling"] = self.sampling
        if self.expand != "none":
            own["expand"] = self.expand
        return own | {entry_of(config).name: asdict(config) for config in self.interventions}

    def sampling_said(self) -> dict[str, Any]:
        """The settings of `Sampling` that the arm has in place of the experiment's."""
        return self.sampling | ({} if self.guidance_scale is None else {"guidance_scale": self.guidance_scale})

    def sampled(self, sampling: Sampling) -> Sampling:
        """The sampling of the arm.

        sampling: of the experiment.

        Raises:
            UserError: when a setting is unknown or out of range.
        """
        return toml.build(Sampling, asdict(sampling) | self.sampling_said(), file=f"arm {self.name!r}", at="sampling")
