"""What the project must know of an MM-DiT family: facts as data, and the few calls that differ between pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.decoding import Decode
from models.errors import ModelError
from models.samplers import takes_sigmas
from models.spec import Group, Sampling
from models.words import Span

Branch = Literal["cond", "uncond"]
Layout = Literal["one_call", "two_calls", "distilled"]
"""How classifier-free guidance calls the transformer in a step: once on rows [negative; positive]; once for the
positive and then once for the negative text; or once, because guidance was distilled into the model."""


Cut = Sequence[tuple[int, Sequence[Span]]]
"""How tokenizers cut a prompt: for each, the number of its text encoder (`Encoded.encoder_N`), and the characters of
the prompt for which each of its own tokens stands, in order; (0, 0) for a mark."""


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


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The text of one prompt as the model takes it.

    arguments: pipeline argument -> tensor [1, ...], named as for the positive prompt; own_N: bool [N], which of the
    text tokens at the blocks are the prompt's own (see below); valid_N: bool [N], which of them are not padding;
    attended_N: bool [N], which of them the model reads (it may read padding); encoder_N: int64 [N], the number of the
    text encoder that a token comes from, None where all come from one; empty: `own_N` holds nothing but marks of the
    encoders; shared: pipeline arguments of the whole batch, such as the pictures to edit; together: prompts can share a
    denoising batch where this is equal; cut: what `Family.cut` gives, which `models.texts` fills in.

    A prompt's own tokens are those into which its text was cut: nothing of a template, a system message or a picture.
    The begin and end marks of CLIP and T5, which are given the bare prompt, count among them: the end marks have read
    the whole prompt. (CLIP's begin mark is the same for every prompt, but TORA's defaults were measured with it.) A
    language model's marks, which stand before the prompt and cannot have read it, do not count.
    """

    arguments: dict[str, Tensor]
    own_N: Tensor
    valid_N: Tensor
    attended_N: Tensor
    encoder_N: Tensor | None = None
    empty: bool = False
    shared: dict[str, Any] = field(default_factory=dict)
    together: Hashable = None
    cut: Mapping[str, int] = field(default_factory=dict)


def _guided_above_one(pipe: Any, sampling: Sampling) -> bool:
    return sampling.guidance_scale > 1.0


def twice_the_autoencoder(pipe: Any) -> int:
    """`size_multiple` of models that see 2 x 2 patches of latents."""
    return int(pipe.vae_scale_factor) * 2


def text_length(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    """`options` of pipelines that take the length of the text."""
    return {"max_sequence_length": sampling.max_sequence_length}


def beyond(limit: int, ids: Sequence[int]) -> int:
    """How many of a text's tokens lie beyond the most that are read."""
    return max(0, len(ids) - int(limit))


def cut_at_length(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    """`cut` of pipelines with one text encoder, which is given `max_sequence_length` tokens of the bare prompt."""
    return {"text_encoder": beyond(sampling.max_sequence_length, pipe.tokenizer(prompt).input_ids)}


def spans(tokenizer: Any, text: str, **options: Any) -> list[Span]:
    """The characters of a text for which each of its tokens stands; (0, 0) for a mark.

    tokenizer: of transformers; options: of its call.

    Raises:
        ModelError: when it does not know them.
    """
    if not tokenizer.is_fast:
        name = type(tokenizer).__name__
        raise ModelError(f"words cannot be found among the model's tokens: {name} does not say where a token stands")
    found: list[Span] = tokenizer(text, return_offsets_mapping=True, **options).offset_mapping
    return found


def spans_in_template(tokenizer: Any, made: Callable[[str], str], prompt: str, **options: Any) -> Cut:
    """`Family.spans` of a text encoder that reads the prompt in a template.

    tokenizer, options: as of `spans`; made: gives the template with a text in it.

    Raises:
        ModelError: when the template changes the text, or as of `spans`.
    """
    text, without = made(prompt), made("")
    # Its words may be in the template too, but the template alone is as far as the two are equal.
    start = text.rfind(prompt, 0, _equal_at_the_beginning(text, without) + len(prompt))
    if start < 0:
        raise ModelError(f"words cannot be found: the model's template changes the prompt {prompt!r}")
    own = prompt_tokens(*(tokenizer(one, **options).input_ids for one in (text, without)))
    tokens = zip(spans(tokenizer, text, **options), own.tolist(), strict=True)
    return [(0, [(max(0, first - start), last - start) for (first, last), is_own in tokens if is_own])]


def spans_of_bare(pipe: Any, prompt: str) -> Cut:
    """`Family.spans` of pipelines with one text encoder, which is given the bare prompt and marks around it."""
    return [(0, spans(pipe.tokenizer, prompt))]


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


def all_read(embeds: Tensor) -> Tensor:
    """`attended_N` of a model that has no text mask. embeds: [1, N, ...]."""
    return torch.ones(embeds.shape[1], dtype=torch.bool, device=embeds.device)


def first_tokens(count: int, embeds: Tensor) -> Tensor:
    """`valid_N` of text that is padded on the right. embeds: [1, N, ...]."""
    return torch.arange(embeds.shape[1], device=embeds.device) < count


def prompt_tokens(ids: Sequence[int], without: Sequence[int]) -> Tensor:
    """Which tokens of a template that holds a prompt are the prompt's, bool [len(ids)].

    ids: of the template with the prompt; without: of the same template with an empty prompt. What both begin with and
    what both end with is the template's; where the tokenizer joins letters of both to one token, it is the prompt's.
    """
    before = _equal_at_the_beginning(ids, without)
    after = min(_equal_at_the_beginning(ids[::-1], without[::-1]), len(without) - before)
    own = torch.zeros(len(ids), dtype=torch.bool)
    own[before : max(before, len(ids) - after)] = True
    return own


def _equal_at_the_beginning(ids: Sequence[object], others: Sequence[object]) -> int:
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(ids, others, strict=False))])


def at_places(own: Tensor, valid_N: Tensor) -> Tensor:
    """`own_N` from the same of the tokens that are not padding, wherever the padding is."""
    own_N = torch.zeros_like(valid_N)
    own_N[valid_N] = own.to(valid_N.device)
    return own_N


def stack(parts: Sequence[dict[str, Tensor]], repeats: Sequence[int]) -> dict[str, Tensor]:
    """Texts of several prompts as one batch, prompt-major: part i is repeated `repeats[i]` times.

    Shorter token sequences (dimension 1) are padded with zeros on the right, which a family allows by giving prompts of
    different length the same `together`.
    """
    stacked = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        if tensors[0].ndim > 1:
            longest = max(tensor.shape[1] for tensor in tensors)
            tensors = [pad_tokens(tensor, longest) for tensor in tensors]
        stacked[name] = torch.cat([t.expand(n, *t.shape[1:]) for t, n in zip(tensors, repeats, strict=True)])
    return stacked


def pad_tokens(tensor: Tensor, length: int) -> Tensor:
    """Zeros (False) after the last token, up to `length` tokens; tokens are dimension 1."""
    missing = length - tensor.shape[1]
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1) if missing else tensor
