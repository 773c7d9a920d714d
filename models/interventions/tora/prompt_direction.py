"""TORA's semantic direction where a transformer call holds one branch only.

The method takes d from e_cond - e_uncond at the block's own tokens. Models that run the positive and the negative text
in two calls have no negative tokens yet when the positive ones run, and guidance-distilled models never have them.
There d is the difference between the text tokens and the mean negative one at the input of the first block in the
first step, the same for all blocks and steps: all blocks read and write one residual stream. The negative text goes
through the transformer's own text embedder: its forward starts on the negative text, and stops at the first block. Of
both texts only their own tokens count; a negative text that has none, an empty one in the template of a language model,
is zero there, and d the prompt's mean token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from models.denoising import Denoising
from models.families.base import Branch
from models.interventions.base import Call, CallEdit, Edit, TextEdit
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction


class _Stop(Exception):
    """The first block was reached."""


class PromptDirection:
    """Measures d in the first call of a run.

    config: the settings.
    run: the denoising.
    """

    value: Tensor
    """float32 [B, D], one row per image."""

    def __init__(self, config: ToraConfig, run: Denoising) -> None:
        self._config, self._run = config, run
        self._negative = {inner: run.negative[outer] for inner, outer in run.family.text_inputs.items()}
        self._uncond_B1D: Tensor | None = None
        self._in_negative_run = False
        self._found = False

    def edits(self) -> Sequence[Edit]:
        """Edits that run the negative text up to the first block, before the first call, and read both texts there."""
        return [
            CallEdit(before=self._run_negative_to_first_block, steps=(0,)),
            TextEdit(site="block input", change=self._measure, blocks=(0,), steps=(0,)),
        ]

    def _run_negative_to_first_block(self, call: Call) -> None:
        if self._found:
            return
        swapped = {name: _cast_like(value, call.kwargs.get(name)) for name, value in self._negative.items()}
        self._in_negative_run = True
        try:
            call.forward(*call.args, **call.kwargs | swapped)
        except _Stop:
            pass
        finally:
            self._in_negative_run = False

    def _measure(self, text_BND: Tensor) -> Tensor:
        if self._found:
            return text_BND
        run = self._run
        if self._in_negative_run:
            text_BND = run.whole_text(text_BND, "uncond")
            self._uncond_B1D = self._selection("uncond").mean(text_BND)
            raise _Stop
        assert self._uncond_B1D is not None
        whole_BND = run.whole_text(text_BND, "cond")
        self.value = semantic_direction(whole_BND, self._uncond_B1D, self._selection("cond"), self._config)
        self._found = True
        return text_BND

    def _selection(self, branch: Branch) -> TokenSelection:
        return TokenSelection.of(self._run.tokens[branch].of_own_images(self._run.shards), self._config)


def _cast_like(value: Tensor, replaced: Any) -> Tensor:
    return value.to(replaced) if isinstance(replaced, Tensor) else value
