"""Image to image and inpainting: denoising that begins from a group's picture, where its family does not read it.

A family says which of diffusers' pipelines make these over its own components (`Family.from_picture`, `from_mask`). The
picture is brought to the group's width and height, and each image gets its own noise on it, from its own seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.families.base import Beginning, Family
from models.pictures import decoded, decoded_mask
from models.spec import Group, Sampling


def pipeline_of(pipe: Any, beginning: Beginning) -> Any:
    """The pipeline of a beginning, over the components of a loaded pipeline as they are now. No weights are copied:
    `from_pipe` of diffusers would bring them all to one number format.

    pipe: a diffusers pipeline of the family.
    beginning: of the family.
    """
    made = getattr(diffusers, beginning.pipeline)(**pipe.components)
    made.set_progress_bar_config(disable=True)
    # Where parts wait on the CPU for their turn, it is the pipeline that sends the last one back.
    for name in ("_all_hooks", "_offload_device"):
        if hasattr(pipe, name):
            setattr(made, name, getattr(pipe, name))
    return made


def arguments(pipe: Any, groups: Sequence[Group]) -> dict[str, Any]:
    """What the pipeline of a beginning takes besides text and sampling: pictures and masks, one for each image.

    pipe: the pipeline.
    groups: with equal sampling, each with a picture, and all of them with a mask or none.

    Raises:
        PromptError: when a picture or a mask is broken, or does not fit the other.
    """
    given: dict[str, list[Tensor]] = {}
    for group in groups:
        picture = decoded(group.pictures[0])
        wanted = {"image": picture}
        if group.mask is not None:
            wanted["mask_image"] = decoded_mask(group.mask, picture.size)
        for name, image in wanted.items():
            tensor = _resized(pipe, image, group)
            given.setdefault(name, []).append(tensor.expand(len(group.seeds), *tensor.shape[1:]))
    strength = groups[0].sampling.denoising_strength
    return {**{name: torch.cat(parts) for name, parts in given.items()}, "strength": strength}


def pixels(pipe: Any, family: Family, latents: Tensor, sampling: Sampling) -> NDArray[np.float32]:
    """The pictures of a pipeline that does not make them itself, float32 [B, H, W, 3] from 0 to 1.

    pipe: the pipeline.
    family: whose components it has.
    latents: of its loop.
    sampling: with which they were made.
    """
    assert family.decode is not None
    decoded_BCHW = family.decode(pipe, latents, sampling, lambda whole: whole)
    made: NDArray[np.float32] = pipe.image_processor.postprocess(decoded_BCHW, output_type="np")
    return made


def _resized(pipe: Any, image: Any, group: Group) -> Tensor:
    """float32 [1, C, H, W] from 0 to 1."""
    processor, sampling = pipe.image_processor, group.sampling
    resized = processor.resize(image, sampling.height, sampling.width)
    tensor: Tensor = processor.numpy_to_pt(processor.pil_to_numpy([resized]))
    return tensor
