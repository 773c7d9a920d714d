"""What an intervention is: an entry of the registry, and the edits that it makes in a denoising run.

Importable without torch: configs, plans and schemas are made from the entries on machines that run no model.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from models.spec import InterventionConfig

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising

Site = Literal["block input", "attention input", "block output"]
"""Where the text tokens of a joint block are changed: what enters the block, the normalised text that its attention
reads, or what leaves it."""


@dataclass(frozen=True, kw_only=True)
class TextEdit:
    """A change of the text tokens at joint blocks. Edits of one site are made in the order of the registry."""

    site: Site
    change: Callable[[Tensor], Tensor]
    """Text of the rows of a call, float [R, N, D], as the blocks of this process see it -> the same, changed. Which
    rows they are `Denoising.own_branches` says."""
    blocks: Container[int]
    """Numbers of the joint blocks, from 0 over all block lists of the family."""
    steps: Container[int]
    """Numbers of the denoising steps, from 0."""


@dataclass(frozen=True, kw_only=True)
class ImageEdit:
    """A change of the image tokens that leave joint blocks; fields as of `TextEdit`."""

    change: Callable[[Tensor], Tensor]
    blocks: Container[int]
    steps: Container[int]


@dataclass(kw_only=True)
class Call:
    """A call of the transformer with the rows of the whole batch.

    forward: runs it once more, with other arguments; kwargs: its arguments by name, which an edit may replace; args:
    those without a name.
    """

    forward: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def latents(self) -> Tensor:
        """Float [rows, ...], the noisy latents."""
        latents: Tensor = self.kwargs["hidden_states"] if "hidden_states" in self.kwargs else self.args[0]
        return latents


@dataclass(frozen=True, kw_only=True)
class CallEdit:
    """A change before or after every call of the transformer in some steps, outside of its blocks."""

    before: Callable[[Call], None] | None = None
    """May replace entries of `Call.kwargs`."""
    after: Callable[[Call, Tensor], Tensor] | None = None
    """What the transformer predicts for all rows, float [rows, ...] -> the same, changed."""
    steps: Container[int]


Edit = TextEdit | ImageEdit | CallEdit


@dataclass(frozen=True, kw_only=True)
class Control:
    """A slider of the endpoint's page: a setting that is a number, or one end of an interval.

    index: of the end of an interval, 0 or 1; low, high, step: of the slider, or, where it is logarithmic, of the power
    of ten; clears: a setting that would hide this one, and is 0 once the slider is moved.
    """

    field: str
    label: str
    low: float
    high: float
    step: float
    index: int | None = None
    logarithmic: bool = False
    clears: str = ""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """An entry of the registry. Schemas, plans, fingerprints, the endpoint and the pages are made from it."""

    name: str
    """Its table in the TOML file, its column in the rows and its field in requests: a-z, then a-z, 0-9 and _."""
    title: str
    """For people, as in the middle of a sentence."""
    purpose: str
    """What it is for, in a few words that go on a switch of the page."""
    meaning: str
    """What its column holds, for the dataset card."""
    config: type[InterventionConfig]
    """Its settings: frozen, every field with a default and a docstring, of type float, int, bool, str, Literal of str
    or `Interval`; __post_init__ raises ValueError for values out of range."""
    begin: Callable[[Any, Denoising], Sequence[Edit]]
    """The edits of one denoising run, from the settings and the run. Raises ModelError where the run's model cannot
    have them. It imports torch inside, if at all."""
    couples: Literal["sample", "group"] = "sample"
    """Does what it does to an image depend on the image alone, or on all images of its group?"""
    reads_negative: bool = False
    """It needs the negative text, also of a model that does not run on it."""
    in_every_row: bool = False
    """Its column is there even in runs that do not use it, so that datasets of different runs can be put together."""
    controls: tuple[Control, ...] = field(default=())
    """Sliders of the endpoint's page; the other settings are taken as the server has them."""

    @property
    def heading(self) -> str:
        """The title at the beginning of a line."""
        return self.title[0].upper() + self.title[1:]
