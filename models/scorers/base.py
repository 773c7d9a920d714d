"""What a scorer is: its inputs and outputs, and its entry in the registry.

Importable without torch. Tensor names: B images of a group, H x W pixels, C = 3 colours, D values of an image vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.scorers import registry

Floats = NDArray[np.float32]

OverFrames = Literal["mean", "max"]
"""How the values of a video's frames become one."""


@dataclass(frozen=True, kw_only=True)
class ScorerSpec:
    """Which scorer, and how it is loaded.

    Raises:
        ValueError: when the kind is unknown, or has no option of this name.
    """

    kind: str = "open_clip"
    """Name in the registry (`models.scorers.registry`)."""
    model: str = ""
    """A model by the kind's own name; for open_clip a name such as "ViT-L-14", or "local-dir:" and a folder."""
    pretrained: str = ""
    """Weights by the kind's own name; for open_clip a tag such as "openai", or a file; "" only for "local-dir:" and
    "hf-hub:", which bring their own."""
    revision: str = ""
    """Revision of the weights. open_clip, for example, fills it in with a hash of a local folder's contents."""
    options: dict[str, Any] = field(default_factory=dict)
    """The kind's own settings: plain values by name."""

    def __post_init__(self) -> None:
        registry.check_settings(self.kind, self.options)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageGroup:
    """One whole group to score."""

    pixels_BHWC: NDArray[np.uint8]
    """uint8 [B, H, W, 3], RGB; the groups of a call may differ in size. Of videos the frames that are scored, those of
    each one after the other."""
    prompt: str
    """The text that the images were made from."""
    counterfactual: str | None
    """The prompt with a common attribute in place of the rare one; None where there is none."""
    frames: int = 1
    """How many of the pictures are frames of the same video; 1 for pictures. A scorer sees pictures in any case."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupScores:
    """The scores of one group of B images."""

    score_B: Floats
    """float32 [B]: how well each image fits the prompt; higher is better."""
    margin_B: Floats | None = None
    """float32 [B]: score for the prompt minus score for the counterfactual; None where the scorer gives none."""
    no_margin: str | None = None
    """Why there is no margin although the group has a counterfactual; None where the scorer never gives one."""
    tokens_cut: Mapping[str, int] | None = None
    """"prompt", "counterfactual" -> how many of the text's last tokens were not read; None from scorers that read no
    text, or do not know."""
    features_BD: Floats | None = None
    """float32 [B, D]: image vectors of unit length, for diversity and duplicates; None from kinds without vectors."""
    columns: Mapping[str, Floats] = field(default_factory=dict)
    """All columns that the kind declares: name -> float32 [B]."""
    answers: Sequence[Mapping[str, float]] | None = None
    """For each of B images, question -> probability of "yes"; None from kinds that ask nothing."""


class Scorer(Protocol):
    """A loaded scorer."""

    @property
    def name(self) -> str:
        """Its name in the column `clip_model`, without the revision."""
        ...

    @property
    def dim(self) -> int | None:
        """Length of its image vectors, D; None where it gives none."""
        ...

    def score(self, groups: Sequence[ImageGroup]) -> Sequence[GroupScores]:
        """The scores of whole groups, in order. Several are given at a time so that they can share a batch."""
        ...


class Kept(Protocol):
    """Answers that were given before; several threads may use it."""

    def find(self, key: Mapping[str, str]) -> dict[str, float]:
        """Question -> answer, of those that are kept for a key; empty where there are none."""
        ...

    def keep(self, key: Mapping[str, str], answers: Mapping[str, float]) -> None:
        """Keep answers for a key, in place of those that were."""
        ...


@runtime_checkable
class Asks(Protocol):
    """A scorer whose answers cost time or money, so that none is asked for twice."""

    def keep_in(self, kept: Kept) -> None:
        """Keep answers there from now on, and look there first."""
        ...


def _accept(spec: ScorerSpec) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A kind of scorer in the registry: all that is known before anything is loaded."""

    open: Callable[[ScorerSpec, str], Scorer]
    """Loads it on a device: "cpu", "cuda", or "auto" for CUDA where there is one. It imports torch only when called."""
    vectors: bool
    """Whether it gives image vectors, as the scorer in [scoring] must: they measure diversity and duplicates."""
    check: Callable[[ScorerSpec], None] = _accept
    """Raises ModelError for settings that are wrong; the message begins with the name of the setting."""
    revision: Callable[[ScorerSpec], str] = attrgetter("revision")
    """Gives the current revision of the weights that the spec names."""
    score: str = ""
    """Meaning of its score, where that is not the cosine of image and prompt."""
    columns: Mapping[str, str] | Callable[[ScorerSpec], Mapping[str, str]] = field(default_factory=dict)
    """Its own columns, of float32: name (a-z, then a-z, 0-9 and _) -> meaning; or what gives them for a spec, where its
    options decide."""
    answers: str = ""
    """Meaning of its column `answers`, with questions and the probabilities of "yes"; "" where it asks nothing."""
    options: tuple[str, ...] = ()
    """The keys that `ScorerSpec.options` may have."""
    over_frames: OverFrames = "mean"
    """How its values of a video's frames become one: "max" for what must not be in any of them."""
