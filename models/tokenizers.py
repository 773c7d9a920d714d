"""How tokenizers cut a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from models.errors import ModelError
from models.spec import Sampling
from models.words import Span

Cut = Sequence[tuple[int, Sequence[Span]]]
"""How tokenizers cut a prompt: for each, the number of its text encoder (`Encoded.encoder_N`), and the characters of
the prompt for which each of its own tokens stands, in order; (0, 0) for a mark."""


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


def spans_of_bare(pipe: Any, prompt: str) -> Cut:
    """`Family.spans` of pipelines with one text encoder, which is given the bare prompt and marks around it."""
    return [(0, spans(pipe.tokenizer, prompt))]


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


def _no_head(pipe: Any) -> int:
    return 0


@dataclass(frozen=True, kw_only=True)
class Template:
    """Words of the model's own in which its text encoder reads a prompt.

    text: the pipeline's template with a text in it; head: how many of its first tokens the model is not given;
    tokenizer: of the pipeline; options: of its call.
    """

    text: Callable[[Any, str], str]
    head: Callable[[Any], int] = _no_head
    tokenizer: Callable[[Any], Any] = attrgetter("tokenizer")
    options: Mapping[str, Any] = field(default_factory=dict)

    def ids(self, pipe: Any, prompt: str) -> list[int]:
        """The tokens of the template with a prompt in it."""
        ids: list[int] = self.tokenizer(pipe)(self.text(pipe, prompt), **self.options).input_ids
        return ids

    def own(self, pipe: Any, prompt: str) -> Tensor:
        """Which of the tokens behind the head are the prompt's, bool [n]."""
        return prompt_tokens(self.ids(pipe, prompt), self.ids(pipe, ""))[self.head(pipe) :]

    def beyond(self, pipe: Any, prompt: str, limit: int) -> int:
        """How many of the tokens lie beyond the most that are read.

        limit: how many are read behind the head.
        """
        return beyond(self.head(pipe) + limit, self.ids(pipe, prompt))

    def spans(self, pipe: Any, prompt: str) -> Cut:
        """`Family.spans`.

        Raises:
            ModelError: when the template changes the text, or as of the function of this name.
        """
        text, without = self.text(pipe, prompt), self.text(pipe, "")
        # Its words may be in the template too, but the template alone is as far as the two are equal.
        start = text.rfind(prompt, 0, _equal_at_the_beginning(text, without) + len(prompt))
        if start < 0:
            raise ModelError(f"words cannot be found: the model's template changes the prompt {prompt!r}")
        own = prompt_tokens(self.ids(pipe, prompt), self.ids(pipe, "")).tolist()
        tokens = zip(spans(self.tokenizer(pipe), text, **self.options), own, strict=True)
        return [(0, [(max(0, first - start), last - start) for (first, last), is_own in tokens if is_own])]


def _formatted(pipe: Any, prompt: str) -> str:
    return str(pipe.prompt_template_encode.format(prompt))


FORMATTED = Template(text=_formatted, head=attrgetter("prompt_template_encode_start_idx"))
"""That of pipelines which hold it as `prompt_template_encode`."""
