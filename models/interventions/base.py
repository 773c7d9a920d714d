"""What an intervention is: an entry of the registry, and the edits that it makes in a denoising run.

Importable without torch, as configs, plans and schemas are made from the entries on machines that run no model.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.spec import InterventionConfig

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising
    from models.info import ModelInfo

Site = Literal["block input", "attention input", "block output"]
"""Where the text tokens of a joint block are changed: at the block's input, at the normalised text that its attention
reads, or at the block's output."""


@dataclass(frozen=True, kw_only=True)
class TextEdit:
    """A change of the text tokens at joint blocks. Edits of one site are made in the order of the registry."""

    site: Site
    """Where in the block."""
    change: Callable[[Tensor], Tensor]
    """From the text that the blocks of this process compute, float [R, N, D], to its changed form of the same shape.
    `Denoising.own_branches` names the branches of its rows."""
    blocks: Container[int]
    """Numbers of the joint blocks, from 0 over all block lists of the family."""
    steps: Container[int]
    """Numbers of the denoising steps, from 0."""


@dataclass(frozen=True, kw_only=True)
class ImageEdit:
    """A change of the image tokens at the output of joint blocks."""

    change: Callable[[Tensor], Tensor]
    """From the image tokens that the blocks of this process compute, float [R, N, D], to their changed form."""
    blocks: Container[int]
    """As in `TextEdit`."""
    steps: Container[int]
    """As in `TextEdit`."""


@dataclass(kw_only=True)
class Call:
    """A call of the transformer with the rows of the whole batch."""

    forward: Callable[..., Any]
    """Runs the transformer once more, with other arguments."""
    args: tuple[Any, ...]
    """Its positional arguments."""
    kwargs: dict[str, Any]
    """Its arguments by name, which an edit may replace."""

    @property
    def latents(self) -> Tensor:
        """The noisy latents, float [rows, ...]."""
        latents: Tensor = self.kwargs["hidden_states"] if "hidden_states" in self.kwargs else self.args[0]
        return latents

    @latents.setter
    def latents(self, changed: Tensor) -> None:
        if "hidden_states" in self.kwargs:
            self.kwargs["hidden_states"] = changed
        else:
            self.args = (changed, *self.args[1:])


@dataclass(frozen=True, kw_only=True)
class CallEdit:
    """A change before or after every call of the transformer in some steps, outside of its blocks."""

    before: Callable[[Call], None] | None = None
    """Called before the transformer; it may replace `Call.latents` and entries of `Call.kwargs`."""
    after: Callable[[Call, Tensor], Tensor] | None = None
    """From the transformer's prediction for all rows, float [rows, ...], to its changed form."""
    loras: bool = True
    """Whether the transformer's LoRAs act in these calls."""
    steps: Container[int]
    """Numbers of the denoising steps, from 0."""


Edit = TextEdit | ImageEdit | CallEdit


@dataclass(frozen=True, kw_only=True)
class Control:
    """A slider of the endpoint's page, for a setting that is a number or one end of an interval."""

    field: str
    """Name of the setting."""
    label: str
    """Text beside the slider."""
    low: float
    """Left end of the slider (of the power of ten, where it is logarithmic)."""
    high: float
    """Right end, as `low`."""
    step: float
    """Distance between two positions, as `low`."""
    index: int | None = None
    """Which end of an interval it sets, 0 or 1; None for a number."""
    logarithmic: bool = False
    """Whether the setting is ten to the power of the slider's position."""
    clears: str = ""
    """A setting that overrides this one, and that moving the slider sets to 0; "" for none."""


def _any_model(info: ModelInfo) -> str:
    return ""


def needs_flow_matching(info: ModelInfo) -> str:
    """`Intervention.refusal` of what reads noise levels."""
    return "" if info.flow_matching else f"it needs a flow-matching sampler; {info.family} has a {info.scheduler} here"


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """An entry of the registry. Schemas, plans, fingerprints, the endpoint and the pages are made from it."""

    name: str
    """Its table in the TOML file, its column in the rows and its field in requests: a-z, then a-z, 0-9 and _."""
    title: str
    """Its name in texts, as in the middle of a sentence."""
    purpose: str
    """What it is for, in a few words for the page of the endpoint."""
    meaning: str
    """What its column holds, for the dataset card."""
    config: type[InterventionConfig]
    """Its settings: frozen, every field with a default and a docstring, of type float, int, bool, str, Literal of str
    or `Interval`; __post_init__ raises ValueError for values out of range."""
    begin: Callable[[Any, Denoising], Sequence[Edit]]
    """Gives the edits of one denoising run, from the settings and the run; raises ModelError where the model of the run
    does not support them. It imports torch only when called."""
    refusal: Callable[[ModelInfo], str] = _any_model
    """Why no run of a loaded model can have it, for people who choose among interventions; "" where some can. `begin`
    decides about a single run."""
    couples: Literal["sample", "group"] = "sample"
    """Whether the change of an image depends on the image alone, or on all images of its group."""
    reads_negative: bool = False
    """Whether it needs the negative text, even with a model that does not run on it."""
    work: str = ""
    """The setting that its cost grows with, a whole number, which the endpoint limits; "" where there is none."""
    in_every_row: bool = False
    """Whether rows have its column in runs that do not use it too, so that datasets of different runs can be joined."""
    reads_apart: tuple[str, str] | None = None
    """A setting and its value with which it changes what a block reads, while the text that goes on from block to block
    stays as it was: then no length of the change is too much; None where there is none."""
    idle: tuple[tuple[str, float], ...] = ()
    """Settings with the values at which it changes nothing, for runs whose arms name it; () where there are none."""
    controls: tuple[Control, ...] = ()
    """Sliders of the endpoint's page; settings without one keep the server's values."""

    @property
    def heading(self) -> str:
        """The title with a capital letter."""
        return self.title[0].upper() + self.title[1:]
