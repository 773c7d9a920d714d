"""The scorer seam: what a scorer is given, what it returns, and what is known of a kind before it is loaded.

Importable without torch. Tensor names: B images of a group, H x W pixels, C = 3 colours, D values of an image vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.scorers import registry

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ScorerSpec:
    """Which scorer, and how it is loaded."""

    kind: str = "open_clip"
    """Name in the registry (`models.scorers.registry`)."""
    model: str = ""
    """What the kind calls a model; for open_clip a name such as "ViT-L-14", or "local-dir:" and a folder."""
    pretrained: str = ""
    """What the kind calls weights; for open_clip a tag such as "openai", "" for a local folder."""
    revision: str = ""
    """Of the weights. Filled in by kinds that can tell, such as open_clip with a hash of a local folder's contents."""
    options: dict[str, Any] = field(default_factory=dict)
    """The kind's own settings: plain values by name."""

    def __post_init__(self) -> None:
        registry.check_settings(self.kind, self.options)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageGroup:
    """One whole group to score."""

    pixels_BHWC: NDArray[np.uint8]
    """RGB; other groups of a call may have other sizes. Of a video its middle frame."""
    prompt: str
    """The text that was drawn."""
    counterfactual: str | None
    """The prompt with its rare attribute made common, where there is one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupScores:
    """What a scorer says of one group."""

    score_B: Floats
    """How well each image fits the prompt; higher is better."""
    margin_B: Floats | None = None
    """How much better each image fits the prompt than the counterfactual; None without one, or if it is not told."""
    features_BD: Floats | None = None
    """Image vectors of unit length, for diversity and duplicates; None from kinds without vectors."""
    columns: Mapping[str, Floats] = field(default_factory=dict)
    """The kind's own columns, all that it declares: name -> float32 [B]."""


class Scorer(Protocol):
    """A loaded scorer."""

    @property
    def name(self) -> str:
        """What the column `clip_model` calls it, without the revision."""
        ...

    @property
    def dim(self) -> int | None:
        """Length of its image vectors, D; None where it gives none."""
        ...

    def score(self, groups: Sequence[ImageGroup]) -> Sequence[GroupScores]:
        """The scores of whole groups, in order. Several come at a time so that it can batch. An error costs a group."""
        ...


def _nothing_is_wrong(spec: ScorerSpec) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A kind of scorer, as the registry has it: all that is known before anything is loaded."""

    open: Callable[[ScorerSpec, str], Scorer]
    """Loads it on a device: "cpu", "cuda", or "auto" for CUDA where there is one. Import torch in here, not above."""
    vectors: bool
    """Does it give image vectors? The scorer in [scoring] must: diversity and duplicates are measured with them."""
    check: Callable[[ScorerSpec], None] = _nothing_is_wrong
    """Raises ModelError, in words that begin with the setting at fault, for what can be known to be wrong."""
    revision: Callable[[ScorerSpec], str] = attrgetter("revision")
    """The revision of the weights that the spec names now."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of its own, of float32: name (a-z, 0-9 and _) -> what it means."""
    options: tuple[str, ...] = ()
    """The keys that `ScorerSpec.options` may have."""
