"""TORA's semantic vector where a transformer call holds one branch only.

The method takes d from e_cond - e_uncond at the block's own tokens. Models that run the positive and the negative text
in two calls have not seen the negative one when the positive one runs, and guidance-distilled models never see it.
There d is the prompt's own: the difference between the text tokens and the mean negative one at the input of the first
block in the first step, the same for all blocks and steps. It lives in the residual stream that the tokens of all
blocks share. The negative text goes through the transformer's own text embedder: its forward is begun on it, and
stopped at the first block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from models.denoising import Clock
from models.families.base import Branch, Family
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction
from models.spec import ToraConfig


class _Stop(Exception):
    """The first block was reached."""


class PromptDirection:
    """Finds d in the first call of a run. `value`: float32 [B, D], one row per image."""

    value: Tensor

    def __init__(self, clock: Clock, family: Family, negative: Mapping[str, Tensor], config: ToraConfig) -> None:
        self._clock, self._config = clock, config
        self._negative = {inner: negative[outer] for inner, outer in family.text_inputs.items()}
        self._uncond_B1D: Tensor | None = None
        self._probing = False
        self._found = False

    def begin_call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the transformer's `forward` runs on the positive text: take the negative one to the first block."""
        if self._found:
            return
        swapped = {name: _like(value, kwargs.get(name)) for name, value in self._negative.items()}
        self._probing = True
        try:
            forward(*args, **kwargs | swapped)
        except _Stop:
            pass
        finally:
            self._probing = False

    def first_block(self, text_BND: Tensor) -> None:
        """Called with the text that enters the first block."""
        if self._found:
            return
        clock = self._clock
        if self._probing:
            text_BND = clock.whole_text(text_BND, "uncond")
            self._uncond_B1D = self._selection("uncond").mean(text_BND)
            raise _Stop
        assert self._uncond_B1D is not None
        text_BND = clock.whole_text(text_BND, "cond")
        self.value = semantic_direction(text_BND, self._uncond_B1D, self._selection("cond"), self._config)
        self._found = True

    def _selection(self, branch: Branch) -> TokenSelection:
        return TokenSelection.of(self._clock.tokens[branch].of_own_images(self._clock.shards), self._config)


def _like(value: Tensor, replaced: Any) -> Tensor:
    return value.to(replaced) if isinstance(replaced, Tensor) else value
