"""A toy pipeline of a family, loaded from disk, and what the tests of all families do with it."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.families.base import BlockList, Family
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.pictures import decoded
from models.spec import Group, Sampling

TORA = ToraConfig(sigma=8.0)
REPULSION = RepulsionConfig(strength=10.0, inner_steps=5, steps=(0.0, 0.5))
BOTH: dict[str, Any] = {"interventions": (TORA, REPULSION)}
SEEDS = (11, 12, 13)
TOLERANCE = 1e-4
"""Of float32 transformer outputs, relative to their largest: other batch shapes sum in another order, and blocks and
steps amplify it."""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A loaded toy pipeline and what it is run with."""

    family: Family
    generator: Generator
    sampling: Sampling
    pictures: tuple[bytes, ...]

    @property
    def pipe(self) -> Any:
        return self.generator._pipe

    def group(self, prompt: str = "a red star", seeds: tuple[int, ...] = SEEDS, **changes: Any) -> Group:
        return Group(prompt=prompt, seeds=seeds, **{"sampling": self.sampling, "pictures": self.pictures, **changes})

    def blocks(self) -> list[tuple[BlockList, nn.Module]]:
        return [(facts, b) for facts in self.family.block_lists for b in getattr(self.pipe.transformer, facts.name)]

    def outputs(self, *groups: Group) -> Tensor:
        """What the transformer predicts for the last step, [rows, ...]: every image's own rows lie apart. To save time
        nothing is decoded."""
        return torch.cat([predicted for predicted, _ in self._ends(*groups)]).float()

    def latents(self, *groups: Group) -> Tensor:
        """What the autoencoder would be given, [images, ...]."""
        return torch.cat([latents for _, latents in self._ends(*groups)])

    def images(self, *groups: Group) -> list[Tensor]:
        """The positive branch of `outputs`, one [B, ...] per group of equal size."""
        rows = sum(len(group.seeds) for group in groups)
        return list(self.outputs(*groups)[-rows:].chunk(len(groups)))

    def _ends(self, *groups: Group) -> list[tuple[Tensor, Tensor]]:
        """The last prediction and the latents of each denoising batch, of which some families need one per prompt."""
        calls: list[Tensor] = []
        ends: list[tuple[Tensor, Tensor]] = []

        def blank(latents: Tensor, **options: Any) -> DecoderOutput:
            ends.append((calls[-1], latents))
            return DecoderOutput(sample=latents.new_zeros(len(latents), 3, *latents.shape[2:]))

        record = self.pipe.transformer.register_forward_hook(lambda _m, _a, out: calls.append(out[0]))
        self.pipe.vae.decode = blank
        try:
            self.generator.generate(groups)
        finally:
            record.remove()
            del self.pipe.vae.decode
        return ends


def picture(*, dark: bool = False, height: int = 24, width: int = 32) -> bytes:
    pixels = np.indices((height, width)).sum(0)[..., None] * np.array([1, 2, 1] if dark else [4, 3, 2])
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def stock(toy: Toy, group: Group | None = None, **given: Any) -> NDArray[np.uint8]:
    """The images of a group of the toy's prompt from the pipeline itself, which encodes the text and expands it in its
    own way. One that begins from a picture is given it, and a generator, for each image. given: further arguments."""
    group = toy.group() if group is None else group
    pipe, family, sampling = toy.pipe, toy.family, group.sampling
    beginning = family.beginning(group)
    if beginning is not None:
        pipe = getattr(diffusers, beginning.pipeline)(**pipe.components)
        pipe.set_progress_bar_config(disable=True)
    many = {"prompt": ["a red star"] * len(SEEDS)}
    arguments = family.arguments(pipe, {}, None, sampling) | many
    accepted = inspect.signature(pipe.__call__).parameters
    if "max_sequence_length" in accepted:
        positions = getattr(pipe.transformer.config, "max_text_seq_length", sampling.max_sequence_length)
        arguments["max_sequence_length"] = positions
    if family.name == "qwen-image":
        arguments["negative_prompt"] = [""] * len(SEEDS)
    if family.name == "chroma":  # its own mask does not mask; see models/families/chroma.py
        embeds, _, mask, negative, _, negative_mask = pipe.encode_prompt(
            **many, max_sequence_length=sampling.max_sequence_length
        )
        arguments |= {"prompt": None, "prompt_embeds": embeds, "prompt_attention_mask": mask.bool()}
        arguments |= {"negative_prompt_embeds": negative, "negative_prompt_attention_mask": negative_mask.bool()}
    if beginning is not None:
        arguments |= {"image": [decoded(group.pictures[0])] * len(SEEDS), "strength": sampling.denoising_strength}
        if group.mask is not None:
            arguments["mask_image"] = [decoded(group.mask).convert("L")] * len(SEEDS)
    if toy.pictures:
        opened = [decoded(picture) for picture in toy.pictures]
        shared = family.encode(pipe, "a red star", opened, sampling).shared
        arguments |= {"prompt": "a red star", "num_images_per_prompt": len(SEEDS), **shared}
        arguments |= {"negative_prompt": ""} if "negative_prompt" in accepted else {}
    without_shift = type(pipe).__name__ == "StableDiffusion3InpaintPipeline"  # of the autoencoder, in its pixels
    arguments["generator"] = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    arguments |= given
    with torch.inference_mode():
        made = pipe(**arguments, output_type="latent" if without_shift else "np")
        if without_shift:
            latents = made.images / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
            made.images = pipe.image_processor.postprocess(pipe.vae.decode(latents)[0], output_type="np")
    pictures: NDArray[np.float32] = made.frames if family.frames_per_second else made.images
    return np.rint(pictures * 255).astype(np.uint8)


def at_blocks(toy: Toy, given: Tensor, length: int, before: Tensor) -> Tensor:
    """Marks of the text tokens at the blocks, from those of the tokens that a language model or T5 is given.

    given: bool, of the tokens that the encoder is given; length: number of tokens at the blocks; before: marks of the
    tokens there that come before those of this encoder.
    """
    given = torch.cat([before, given[_KEPT.get(toy.family.name, lambda _: slice(None))(toy.pipe)]])
    missing = length - len(given)
    return torch.cat([given, given.new_zeros(missing)]) if missing > 0 else given[-length:]


def tokens_before(toy: Toy) -> int:
    """Number of tokens at the blocks before those of the language model or T5: CLIP's, or the transformer's own."""
    count: Callable[[Any], int] = _BEFORE.get(toy.family.name, lambda _: 0)
    return count(toy.pipe)


_KEPT: dict[str, Callable[[Any], slice]] = {
    "hunyuan-image": lambda pipe: slice(pipe.prompt_template_encode_start_idx, None),
    "hunyuan-video-15": lambda pipe: slice(pipe.prompt_template_encode_start_idx, None),
    "longcat-image": lambda pipe: slice(-len(pipe.tokenizer(pipe.prompt_template_encode_suffix).input_ids)),
}
"""Family -> those of the encoder's tokens that go on to the transformer, where these are not the last ones."""

_BEFORE: dict[str, Callable[[Any], int]] = {
    "sd3": lambda pipe: pipe.tokenizer_max_length,
    "aura-flow": lambda pipe: pipe.transformer.register_tokens.shape[1],
}


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("toy", names, indirect=True)
