"""How an arm of an experiment on the embedded model draws: what all experiments share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from models.embedded.described import Expansion
from models.errors import require
from models.interventions.registry import entry_of
from models.spec import InterventionConfig
from pipelines.config.arm_sampling import ArmSampling


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One way to draw the pictures of every prompt."""

    name: str
    """Unique in the experiment."""
    guidance_scale: float | None = None
    """`sampling.guidance_scale`, said in one line."""
    sampling: ArmSampling = field(default_factory=ArmSampling)
    """What it changes of the experiment's sampling."""
    expand: Expansion = "none"
    """Each picture is drawn from a longer text, in which words for what the prompt leaves open are drawn as in the
    training world ("typical") or evenly ("uniform"). It is judged by the prompt."""
    interventions: tuple[InterventionConfig, ...] = ()
    """Settings of those that act; in the file each has a table of its own name."""

    def __post_init__(self) -> None:
        if self.guidance_scale is not None and self.sampling.guidance_scale is not None:
            raise ValueError(
                f"guidance_scale = {self.guidance_scale}: sampling.guidance_scale = {self.sampling.guidance_scale} "
                "says it too; leave one of them out"
            )
        coupled = [entry_of(c).name for c in self.interventions if entry_of(c).couples == "group"]
        require(
            self.expand == "none" or not coupled, "expand", self.expand, f"{coupled} act on pictures of the same text"
        )

    def settings(self) -> dict[str, Any]:
        """The settings that change pixels, as plain values."""
        own: dict[str, Any] = {"guidance_scale": self.guidance_scale}
        if said := self.sampling.given():
            own["sampling"] = said
        if self.expand != "none":
            own["expand"] = self.expand
        return own | {entry_of(config).name: asdict(config) for config in self.interventions}

    @property
    def own_sampling(self) -> ArmSampling:
        """What it changes of the experiment's sampling, wherever it says so."""
        scale = self.guidance_scale
        return self.sampling if scale is None else replace(self.sampling, guidance_scale=scale)
