"""The columns of prompt files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from models.errors import require

NONE = "-"
"""Value of a column's setting that takes no column, even where there is one with the field's name."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns in the prompt files; "" takes the column with the field's name where there is one, "-" takes
    none. Those from `negative_prompt` on are a row's own settings: where it has a value, it goes before the run's.
    Those from `source_image` on are read where that one is named: a picture acts only where it was meant to."""

    prompt: str = "prompt"
    """The text."""
    prompt_id: str = ""
    """Text or whole numbers; derived from the prompt's text where there is no such column."""
    concept: str = ""
    """What the prompt is about, for grouping in reports."""
    rarity: str = ""
    """How rare the concept is, for grouping in reports."""
    counterfactual: str = ""
    """The prompt with its rare attribute replaced by a common one; `clip_margin` compares with it."""
    negative_prompt: str = ""
    """As in [sampling]."""
    steps: str = ""
    """As in [sampling]."""
    sigmas: str = ""
    """As in [sampling]: a list of numbers, or a text with commas between them. `steps` are as many where the row does
    not say them, and an empty list is the sampler's own."""
    guidance_scale: str = ""
    """As in [sampling]."""
    width: str = ""
    """As in [sampling]."""
    height: str = ""
    """As in [sampling]."""
    aspect_ratio: str = ""
    """Such as 16:9, in place of width and height: as many pixels as the run's, in sides that the model can draw."""
    frames: str = ""
    """As in [sampling]."""
    max_sequence_length: str = ""
    """As in [sampling]."""
    sigma: str = ""
    """As in [tora], for every arm in which it is on."""
    strength: str = ""
    """As in [repulsion], for every arm in which it is on."""
    vary_words: str = ""
    """As in [repulsion], for every arm in which it is on."""
    keep_words: str = ""
    """As in [repulsion], for every arm in which it is on."""
    seed: str = ""
    """Seed of the prompt's first image; those of the others follow from it, not from run.seed and the prompt's id."""
    images: str = ""
    """How many images the prompt gets in each arm, in groups of `group.size` and a smaller last one."""
    source_image: str = ""
    """The picture to edit, or a list of several: bytes, Hugging Face's {bytes, path}, or a path or an address; "" takes
    none."""
    source_mask: str = ""
    """A picture as large as the one to edit, white where that is painted anew."""
    target_caption: str = ""
    """What the edited picture shows, which scores compare it with in place of the prompt."""
    denoising_strength: str = ""
    """As in [sampling], of a row with a picture."""

    def __post_init__(self) -> None:
        require(self.prompt != NONE, "prompt", self.prompt, "needs the name of a column")
        for field in PICTURES[1:]:
            alone = getattr(self, field) not in ("", NONE) and not self.pictured
            require(not alone, field, getattr(self, field), "needs prompts.columns.source_image too")

    @property
    def pictured(self) -> bool:
        """Whether rows may name pictures."""
        return self.source_image not in ("", NONE)

    @property
    def settings(self) -> tuple[str, ...]:
        """The fields of a row's own settings."""
        return (*SETTINGS, "denoising_strength") if self.pictured else SETTINGS

    @property
    def acting(self) -> tuple[str, ...]:
        """The fields whose columns are read."""
        return FIELDS if self.pictured else (*TEXTS, *SETTINGS)

    def name_of(self, field: str) -> str:
        """The column of a field, whether there is one or not; "-" for none.

        field: of this class.
        """
        return getattr(self, field) or field

    def read_from(self, fields: Iterable[str]) -> dict[str, str | None]:
        """Field -> its column; None for a field that takes none, as no column is called so."""
        names = {field: self.name_of(field) for field in fields}
        return {field: None if name == NONE else name for field, name in names.items()}


FIELDS = tuple(field.name for field in fields(Columns))
"""The names of all fields, in order."""

TEXTS = FIELDS[: FIELDS.index("negative_prompt")]
"""Those that say what the prompt is."""

SETTINGS = FIELDS[len(TEXTS) : FIELDS.index("source_image")]
"""Those that are a row's own settings."""

PICTURES = FIELDS[len(TEXTS) + len(SETTINGS) :]
"""Those of pictures to edit."""
