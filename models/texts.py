"""Encodes prompts one by one, with a cache."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.encoded import Encoded
from models.errors import PromptError
from models.families.base import Family
from models.pictures import decoded
from models.spec import Lora, Sampling
from models.words import places

_BYTES_KEPT = 512 << 20
_Key = tuple[str, tuple[bytes, ...], Sampling, tuple[Lora, ...]]


class Texts:
    """The encoded prompts of a loaded pipeline. The most recent ones are kept, up to 512 MiB on the model's device, as
    the arms of a run and the groups of a prompt follow each other.

    pipe: a diffusers pipeline.
    family: its family.
    """

    def __init__(self, pipe: Any, family: Family) -> None:
        self._pipe, self._family = pipe, family
        self._kept: OrderedDict[_Key, Encoded] = OrderedDict()
        self._bytes = 0

    def encode(
        self,
        prompt: str,
        pictures: tuple[bytes, ...],
        sampling: Sampling,
        loras: tuple[Lora, ...] = (),
        what: str = "prompt",
    ) -> Encoded:
        """The text of one prompt.

        prompt: the text.
        pictures: the files of the group's pictures, which families that edit read with it.
        sampling: gives the length of the text.
        loras: those that act on the pipeline now, perhaps on its text encoders too.
        what: what the text is, for messages.

        Raises:
            PromptError: when the prompt is too long, or a picture is broken.
        """
        key = (prompt, pictures, sampling, loras)
        if key not in self._kept:
            self._kept[key] = self._encode(prompt, pictures, sampling, what)
            self._bytes += _size(key, self._kept[key])
            while self._bytes > _BYTES_KEPT and len(self._kept) > 1:
                self._bytes -= _size(*self._kept.popitem(last=False))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _encode(self, prompt: str, pictures: tuple[bytes, ...], sampling: Sampling, what: str) -> Encoded:
        family = self._family
        with _counted_here(self._pipe):
            cut = family.cut(self._pipe, prompt, sampling)
        if excess := family.excess(cut):
            raise PromptError(
                f"the {what} is {excess} tokens longer than the model reads; shorten it, or see "
                f"sampling.max_sequence_length = {sampling.max_sequence_length}"
            )
        opened = [decoded(picture) for picture in pictures]
        with _counted_here(self._pipe):
            encoded = family.encode(self._pipe, prompt, opened, sampling)
        return replace(encoded, cut=cut)

    def holding(self, prompt: str, encoded: Encoded, words: str) -> Tensor:
        """Which of a prompt's text tokens stand for some of its words, bool [N].

        prompt: the text.
        encoded: as `encode` gives it.
        words: as of `models.words.listed`.

        Raises:
            PromptError: when one is not in the prompt, or in no part of it that the model is given.
            ModelError: when a tokenizer of the model does not say where its tokens stand.
        """
        try:
            wanted = places(words, prompt)
        except ValueError as error:
            raise PromptError(str(error)) from None
        own_N = encoded.own_N.cpu()
        encoder_N = torch.zeros_like(own_N, dtype=torch.int64) if encoded.encoder_N is None else encoded.encoder_N.cpu()
        found_N = torch.zeros_like(own_N)
        with _counted_here(self._pipe):
            cut = self._family.spans(self._pipe, prompt)
        for encoder, spans in cut:
            positions = (own_N & (encoder_N == encoder)).nonzero()[:, 0].tolist()
            for position, (first, last) in zip(positions, spans, strict=False):  # those behind were cut off
                found_N[position] |= any(first < stop and start < last for start, stop in wanted)
        if not found_N.any():
            raise PromptError(f"none of the words {words!r} is in what the model is given of the prompt: {prompt!r}")
        return found_N.to(encoded.own_N.device)


@contextmanager
def _counted_here(pipe: Any) -> Iterator[None]:
    """Without the warnings of diffusers and transformers of each prompt that is cut: rows and report say it."""
    logs = [logging.getLogger(name) for name in (type(pipe).__module__, "transformers.tokenization_utils_base")]
    before = [log.disabled for log in logs]
    try:
        for log in logs:
            log.disabled = True
        yield
    finally:
        for log, disabled in zip(logs, before, strict=True):
            log.disabled = disabled


def _size(key: _Key, encoded: Encoded) -> int:
    return sum(tensor.nbytes for tensor in encoded.arguments.values()) + sum(len(picture) for picture in key[1])
