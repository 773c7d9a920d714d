"""Lift of images: the denoising error without the prompt, less that with it, on the same noise.

Of a flow-matching model, the error is of its velocity: |(noise - image) - prediction|^2, on average over the latent's
values. Its difference estimates log p(image | prompt) - log p(image), up to the weights of noise levels. Tensor names:
B images of a group, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.beginning import pipeline_of
from models.encoded import stack
from models.errors import ModelError
from models.families import family_of
from models.loading.dtype import resolved
from models.loading.load import load
from models.loading.placement import place
from models.recommended import recommended
from models.samplers import adds_noise, does_flow_matching
from models.scorers.base import Floats, GroupScores, ImageGroup
from models.scorers.lift import LiftOptions
from models.scorers.questions import parts_of
from models.spec import ModelSpec, Sampling
from models.texts import Texts

_PLACES = 1000
"""Steps of the schedule among which noise levels are chosen."""


class LiftScorer:
    """A `Scorer` that has a diffusion model of its own.

    model: a pipeline folder or a hub id, of a family that begins from pictures.
    revision: of it.
    options: the kind's.
    device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises:
        ModelError: when the model cannot be loaded, or cannot begin from a picture.
    """

    dim = None

    def __init__(self, model: str, revision: str, options: LiftOptions, device: str) -> None:
        device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        dtype: Any = options.dtype
        spec = resolved(ModelSpec(path=model, revision=revision, dtype=dtype), gpus=device != "cpu")
        self._pipe: Any = place(load(spec), spec, device)
        self._family, scheduler = family_of(self._pipe), self._pipe.scheduler
        if not (self._family.from_picture and adds_noise(scheduler) and does_flow_matching(scheduler)):
            raise ModelError(
                f"model = {model!r}: lift needs a flow-matching model that can begin from a picture, which "
                f"{self._family.name} with {type(scheduler).__name__} cannot"
            )
        self._texts = Texts(self._pipe, self._family)
        self._options = options
        self._sampling = Sampling(
            **{**recommended(model).sampling, "sigmas": (), "guidance_scale": 1.0, "negative_prompt": ""}
        )
        self.name = f"lift of {model}"

    def score(self, groups: Sequence[ImageGroup]) -> list[GroupScores]:
        """The lift of whole groups, in order, each by itself: levels * (texts + 1) passes of a batch of B."""
        return [self._score(group) for group in groups]

    def _score(self, group: ImageGroup) -> GroupScores:
        parts = parts_of(group.prompt) if self._options.parts else []
        other = [] if group.counterfactual is None else [group.counterfactual]
        texts = [*dict.fromkeys(("", group.prompt, *parts, *other))]
        error = dict(zip(texts, self._errors(group.pixels_BHWC, texts), strict=True))
        lift = {text: (error[""] - error[text]).astype(np.float32) for text in texts}
        lowest: Floats = np.min([lift[text] for text in parts or [group.prompt]], axis=0)
        scores = GroupScores(score_B=lift[group.prompt], columns={"min": lowest} if self._options.parts else {})
        if group.counterfactual is None:
            return scores
        return replace(scores, margin_B=lift[group.prompt] - lift[group.counterfactual])

    @torch.inference_mode()
    def _errors(self, pixels_BHWC: NDArray[np.uint8], texts: Sequence[str]) -> list[NDArray[np.float64]]:
        """For each text the denoising error of each image, float64 [B], on average over the noise levels."""
        count, height, width = pixels_BHWC.shape[:3]
        sampling = replace(self._sampling, width=width, height=height, steps=_PLACES)
        encoded = [self._texts.encode(text, (), sampling) for text in texts]
        image = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255.0
        errors = np.zeros((len(texts), count))
        for level in range(self._options.levels):
            strength = (level + 0.5) / self._options.levels
            for number, text in enumerate(encoded):
                arguments = {
                    **self._family.arguments(self._pipe, stack([text.arguments], [count]), None, sampling),
                    "image": image,
                    "strength": strength,
                }
                if not number:
                    velocity = self._first_call(arguments, level, "velocity").float()
                made = self._first_call(arguments, level, "prediction").float()
                errors[number] += (velocity - made).square().flatten(1).mean(1).double().cpu().numpy()
        return [*(errors / self._options.levels)]

    def _first_call(self, arguments: dict[str, Any], level: int, wanted: str) -> Tensor:
        """What the transformer gives when it is first called, or, as it would be given it, the velocity that is right.

        The pipeline itself encodes the image, brings noise on it and lays the latents out. It has the velocity do so in
        place of the noisy image, and ends where the transformer has been called, or is about to be.
        """
        assert self._family.from_picture is not None
        pipe = pipeline_of(self._pipe, self._family.from_picture)
        seeds = [self._options.seed + level] * len(arguments["image"])
        arguments = arguments | {"generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds]}
        with _caught(pipe, wanted) as caught:
            pipe(**arguments, output_type="latent")
        return caught[0]


class _Seen(Exception):
    """Ends a pipeline's call."""


def _velocity(sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
    """What a flow-matching model is to predict, whatever the noise level. Arguments as of a scheduler's method."""
    return noise - sample


@contextmanager
def _caught(pipe: Any, wanted: str) -> Iterator[list[Tensor]]:
    """Ends the block when the transformer is called; the list then has its input or output."""
    caught: list[Tensor] = []

    def about_to_be_called(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(kwargs["hidden_states"])
        raise _Seen

    def called(module: Any, args: tuple[Any, ...], output: Any) -> None:
        caught.append(output[0])
        raise _Seen

    scheduler, transformer = pipe.scheduler, pipe.transformer
    if wanted == "velocity":
        hook = transformer.register_forward_pre_hook(about_to_be_called, with_kwargs=True)
        scheduler.scale_noise = _velocity
    else:
        hook = transformer.register_forward_hook(called)
    try:
        yield caught
    except _Seen:
        pass
    finally:
        hook.remove()
        scheduler.__dict__.pop("scale_noise", None)
