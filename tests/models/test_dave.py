"""DAVE on image tokens alone; what it changes in a whole call: tests/models/test_rivals.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from models.interventions.base import ImageEdit
from models.interventions.dave import DAVE, DaveConfig
from models.parallel.shards import WHOLE


def test_many_tokens_in_float16_have_a_finite_mean() -> None:
    run: Any = SimpleNamespace(blocks=2, steps=10, shards=WHOLE)
    (edit,) = DAVE.begin(DaveConfig(weight=0.0), run)
    assert isinstance(edit, ImageEdit)
    image_RND = (20.0 + torch.randn(2, 4250, 8, generator=torch.Generator().manual_seed(0))).half()
    damped_RND = edit.change(image_RND)
    assert damped_RND.dtype == torch.float16
    assert damped_RND.float().mean(dim=1).abs().max() < 0.02
    assert (damped_RND - (image_RND.float() - image_RND.float().mean(dim=1, keepdim=True))).abs().max() < 0.02
