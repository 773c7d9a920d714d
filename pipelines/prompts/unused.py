"""Columns of prompt files that nobody asked for: which of them were probably meant to act, and what to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from models.errors import nearest
from pipelines.prompts.columns import FIELDS, NONE, Columns
from pipelines.prompts.wanted import Wanted

_OTHER_WORDS = {
    "negative_prompt": ("neg", "negative", "uc"),
    "guidance_scale": ("cfg", "cfg_scale", "guidance"),
    "steps": ("num_inference_steps", "inference_steps", "num_steps", "sampling_steps"),
    "sigmas": ("noise_levels",),
    "width": ("w", "image_width"),
    "height": ("h", "image_height"),
    "aspect_ratio": ("aspect", "ratio", "ar", "resolution", "size", "image_size"),
    "frames": ("num_frames", "frame_count"),
    "max_sequence_length": ("max_tokens", "max_length"),
    "seed": ("noise_seed", "random_seed", "rng_seed"),
    "images": ("n", "num_images", "num_images_per_prompt", "num_samples", "n_samples", "samples", "batch_size"),
    "prompt_id": ("id", "uid"),
    "source_image": ("input_image", "init_image", "original_image", "reference_image"),
    "source_mask": ("mask", "mask_image"),
    "target_caption": ("target_prompt", "edited_prompt", "edited_caption", "output_caption"),
}
"""Field -> what other tools call it."""
_ALIKE = 0.8
_SHOWN = 20


def notices(wanted: Wanted, columns: Columns, ours: Collection[str]) -> Iterator[str]:
    """A sentence on the columns that were probably meant to act, and one that lists the others.

    wanted: the columns, after all files were read.
    columns: the settings.
    ours: names of columns that the rows of a run have.
    """
    left_alone = {field for field in FIELDS if getattr(columns, field) == NONE}
    unused = wanted.unused
    meant = {name: hint for name in unused if name not in left_alone and (hint := _hint(name, ours))}
    if meant:
        named = ", ".join(f"{name!r} ({hint})" for name, hint in meant.items())
        yield (
            "warning: the prompt files have columns that look like settings, or like columns of rows, and do nothing: "
            f"{named}. Map them as said, rename them, or take them along as they are with prompts.carry"
        )
    if others := [name for name in unused if name not in meant]:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        yield (
            f"columns of the prompt files that are not used, not carried: {', '.join(others[:_SHOWN])}{more}; "
            "prompts.carry takes them along"
        )


def _hint(name: str, ours: Collection[str]) -> str:
    """What to do with a column that was probably meant to act; "" for others."""
    word = _plain(name)
    fields = {_plain(other): field for field, others in _OTHER_WORDS.items() for other in (field, *others)}
    field = fields.get(word) or nearest(name.lower(), FIELDS, _ALIKE)
    if field:
        return f"prompts.columns.{field} = {name!r}"
    return "this name has a meaning in rows" if name in ours else ""


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name.lower())
