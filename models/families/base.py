"""What the project must know of an MM-DiT family: facts as data, and the few calls that differ between pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from models.decoding import Decode
from models.encoded import Encoded
from models.samplers import takes_sigmas
from models.spec import Group, Sampling
from models.tokenizers import Cut, spans_of_bare

Branch = Literal["cond", "uncond"]
Layout = Literal["one_call", "two_calls", "distilled"]
"""How classifier-free guidance calls the transformer in a step: once on rows [negative; positive]; once for the
positive and then once for the negative text; or once, because guidance was distilled into the model."""


@dataclass(frozen=True, kw_only=True)
class BlockList:
    """A list of joint blocks in a transformer.

    name: attribute of the transformer; text_argument: name of the text tokens in the block's forward, and
    text_position: their place among its positional arguments; text_output: index of the text tokens in what the block
    returns (its last block may return None there), or None where the block takes and returns one tensor in which the
    text comes first, then the image; attention: attribute of the block, which gets the normalised text by keyword, as
    `encoder_hidden_states` or, where that is absent, before the image in `hidden_states`, its first argument;
    attention_order: how its tokens lie in the attention itself, "" where nobody has looked.
    """

    name: str
    text_argument: str = "encoder_hidden_states"
    text_position: int = 1
    text_output: int | None
    attention: str = "attn"
    attention_order: Literal["", "text first", "image first"] = ""

    @property
    def image_output(self) -> int:
        """Index of the image tokens in what a block returns that gives text and image apart."""
        assert self.text_output is not None
        return 1 - self.text_output


def _guided_above_one(pipe: Any, sampling: Sampling) -> bool:
    return sampling.guidance_scale > 1.0


def twice_the_autoencoder(pipe: Any) -> int:
    """`size_multiple` of models that see 2 x 2 patches of latents."""
    return int(pipe.vae_scale_factor) * 2


def text_length(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    """`options` of pipelines that take the length of the text."""
    return {"max_sequence_length": sampling.max_sequence_length}


def guide(guider: Any, sampling: Sampling) -> None:
    """Give the guidance scale to a guider of a pipeline that asks one for it; 1 is none there."""
    guider.guidance_scale = max(1.0, sampling.guidance_scale)


def _always(pipe: Any) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A diffusers pipeline over a family's own components that begins from a picture with noise on it, where the
    family's begins from noise alone. It takes `image`, `strength` and, where it paints a part anew, `mask_image`.

    pipeline: its class; possible: does it run with these components?; decodes: whether it makes the pixels of its
    latents, as `Family.decode` does.
    """

    pipeline: str
    possible: Callable[[Any], bool] = _always
    decodes: bool = True


def _no_options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    return {}


def _called(pipe: Any, arguments: dict[str, Any]) -> Any:
    return pipe(**arguments)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Facts of one family.

    name: in rows and messages; pipelines: classes of the diffusers pipelines it covers; transformer: class of their
    transformer; block_lists: its joint blocks, in the order in which they run; layout: how guidance calls it;
    text_inputs: argument of the transformer -> pipeline argument that holds the text for it; pooled_input: argument of
    the transformer with the text's pooled vector, "" where it has none; encode: text of one prompt (and of the pictures
    to edit); cut: text encoder, as the pipeline names it -> how many of a prompt's last tokens it is not given;
    spans: which characters of a prompt its own tokens stand for, those that are cut too;
    in_part: text encoders that may read the beginning alone, as long as another one reads the whole prompt;
    size_multiple: width and height must be multiples of it; guided: is there a negative branch with these settings?;
    options: further arguments of the pipeline; call: calls the pipeline, where its class takes more than passing it the
    arguments; guidance_argument: its name for `Sampling.guidance_scale`, "" where it has none; pictures: least and most
    pictures that it edits or looks at; from_picture: what begins from a picture, in a family that takes none otherwise;
    from_mask: the same, where a mask says what of it is painted anew; frames_per_second: above 0 for video; frame_step:
    the number of frames must be 1 more than a multiple of it; optional: text encoder that it runs without -> what else
    of the pipeline is then not needed; sampler_inputs: arguments of the sampler's `set_timesteps` that its pipeline
    gives, besides their number; context_plan: how tokens are divided over ranks, as diffusers' context parallelism
    reads it, where the transformer brings no plan of its own; decode: how latents become pixels, None where images are
    not shown while they are made.
    """

    name: str
    pipelines: tuple[str, ...]
    transformer: str
    block_lists: tuple[BlockList, ...]
    layout: Layout
    text_inputs: Mapping[str, str]
    encode: Callable[[Any, str, Sequence[Image.Image], Sampling], Encoded]
    cut: Callable[[Any, str, Sampling], Mapping[str, int]]
    size_multiple: Callable[[Any], int]
    spans: Callable[[Any, str], Cut] = spans_of_bare
    in_part: tuple[str, ...] = ()
    guided: Callable[[Any, Sampling], bool] = _guided_above_one
    options: Callable[[Any, Sampling], dict[str, Any]] = _no_options
    call: Callable[[Any, dict[str, Any]], Any] = _called
    guidance_argument: str = "guidance_scale"
    pooled_input: str = ""
    pictures: tuple[int, int] = (0, 0)
    from_picture: Beginning | None = None
    from_mask: Beginning | None = None
    frames_per_second: int = 0
    frame_step: int = 0
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sampler_inputs: tuple[str, ...] = ("sigmas",)
    context_plan: Mapping[str, Any] = field(default_factory=dict)
    decode: Decode | None = None

    def blocks(self, transformer: Any) -> list[tuple[BlockList, Any]]:
        """The joint blocks of a transformer in the order in which they run, each with the facts of its list."""
        return [(facts, block) for facts in self.block_lists for block in getattr(transformer, facts.name)]

    @property
    def takes(self) -> tuple[int, int]:
        """Least and most pictures of a group."""
        least, most = self.pictures
        return least, most or int(self.from_picture is not None)

    def beginning(self, group: Group) -> Beginning | None:
        """What the denoising of a group begins from; None for noise alone."""
        if not group.pictures:
            return None
        return self.from_picture if group.mask is None else self.from_mask

    def excess(self, cut: Mapping[str, int]) -> int:
        """Tokens by which a prompt is too long: those that no encoder is given which ought to read the whole.

        cut: as of the function of this name.
        """
        whole = [tokens for encoder, tokens in cut.items() if encoder not in self.in_part]
        return min(whole or cut.values())

    def has_negative(self, pipe: Any, sampling: Sampling) -> bool:
        """Does the transformer also run on the negative prompt?"""
        return self.layout != "distilled" and self.guided(pipe, sampling)

    def arguments(
        self, pipe: Any, positive: dict[str, Tensor], negative: dict[str, Tensor] | None, sampling: Sampling
    ) -> dict[str, Any]:
        """The pipeline's arguments for already expanded text."""
        return {
            **positive,
            **{f"negative_{name}": value for name, value in (negative or {}).items()},
            **({self.guidance_argument: sampling.guidance_scale} if self.guidance_argument else {}),
            **({"num_frames": sampling.frames} if self.frames_per_second else {}),
            "num_inference_steps": sampling.steps,
            **self._levels(pipe, sampling),
            "height": sampling.height,
            "width": sampling.width,
            **self.options(pipe, sampling),
        }

    def takes_sigmas(self, pipe: Any) -> bool:
        """Do the noise levels of `Sampling.sigmas` reach the sampler of the pipeline?"""
        return "sigmas" in inspect.signature(type(pipe).__call__).parameters and takes_sigmas(pipe.scheduler)

    def _levels(self, pipe: Any, sampling: Sampling) -> dict[str, Any]:
        """The noise levels that the settings name, and what the model is told of them where its pipeline gives the
        sampler that as well (CogView4)."""
        if not sampling.sigmas:
            return {}
        levels = np.array(sampling.sigmas)
        told = {"timesteps": levels * pipe.scheduler.config.num_train_timesteps}
        return {"sigmas": levels, **{name: value for name, value in told.items() if name in self.sampler_inputs}}
