"""One block of a published model on a CPU, with random weights, beside both interventions.

The block is timed for one image, and taken to cost B times that for a group of B. Repulsion acts in tau of a run's
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import torch
from torch import nn

from jobs.benchmarks import parts
from jobs.benchmarks.cases import Model
from jobs.benchmarks.timing import compare


@torch.inference_mode()
def measure(
    model: Model, groups: Sequence[int], prompts: Sequence[int], large_group: int, repeats: int, naive: bool
) -> None:
    """Time the block and all cases, and print a table.

    groups: group sizes.
    prompts: numbers of the prompt's own tokens.
    large_group: the size of a group for repulsion alone; 0 for none.
    repeats: runs of each.
    naive: whether to run the papers' own forms too.
    """
    dtype = torch.bfloat16
    block = _seconds({"the block": block_call(model, dtype)}, repeats, model.name)["the block"]
    print(
        f"\none block of {model.name} (real dimensions, random weights, bfloat16), {model.image_tokens} image tokens, "
        f"{model.text_tokens} text tokens: {block:.3g} s an image"
    )
    print(f"  {'images':>6}{'tokens':>8}  {'':30}{'ms':>10}{'over the run':>14}")
    for images in groups:
        for own in prompts:
            calls = parts.tora(model, images, own, "cpu", dtype)
            calls = calls if naive else parts.without_papers_forms(calls)
            _show(_seconds(calls, repeats, "TORA"), images, str(own), images * block)
    for images in (*groups, *([large_group] if large_group else [])):
        if images > 1:
            calls = parts.repulsion(model, images, model.repulsion, "cpu", dtype)
            calls = calls if naive and images in groups else parts.without_papers_forms(calls)
            seconds = _seconds(calls, repeats, "repulsion")
            if parts.AUTOGRAD in seconds:
                seconds[parts.AUTOGRAD] *= model.inner_steps / parts.NAIVE_STEPS
            _show(seconds, images, "", images * block * model.steps / model.tau)


def _seconds(calls: parts.Calls, repeats: int, label: str) -> dict[str, float]:
    return {name: timing.seconds for name, timing in compare(calls, repeats=repeats, device="cpu", label=label).items()}


def _show(seconds: dict[str, float], images: int, tokens: str, over: float) -> None:
    for name, each in seconds.items():
        print(f"  {images:6}{tokens:>8}  {name:30}{1e3 * each:10.2f}{100 * each / over:+12.2f} %", flush=True)


def block_call(model: Model, dtype: torch.dtype) -> Callable[[], object]:
    """A call of the model's first block with the rows of one image.

    model: the model.
    dtype: of weights and tokens.
    """
    classes: Any = diffusers
    with torch.device("meta"):
        transformer = getattr(classes, model.transformer)(**{**model.config, **model.first_block})
    block: nn.Module = transformer.transformer_blocks[0].to(dtype).to_empty(device="cpu").eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.02)
    rows, width = model.branches, model.width
    inputs: dict[str, Any] = {
        "hidden_states": torch.randn(rows, model.image_tokens, width).to(dtype),
        "encoder_hidden_states": torch.randn(rows, model.text_tokens, width).to(dtype),
        "temb": torch.randn(rows, width).to(dtype),
    }
    if model.rotary:
        angle = torch.randn(model.text_tokens + model.image_tokens, model.rotary)
        inputs["image_rotary_emb"] = (angle.cos().to(dtype), angle.sin().to(dtype))
    return lambda: block(**inputs)
