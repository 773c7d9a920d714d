"""The embedded model end to end on a CPU, with both interventions and with the papers' own forms of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from jobs.benchmarks import parts
from jobs.benchmarks.cases import TORA, Model
from jobs.benchmarks.papers import papers_forms
from jobs.benchmarks.timing import compare, show
from models.embedded import SAMPLING, WEIGHTS
from models.embedded.training.untrained import save_untrained
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.spec import Group, InterventionConfig, ModelSpec

PROMPT = "a striped purple star left of a green heart on snow"
REPULSION = RepulsionConfig(inner_steps=100, steps=(0.0, 4 / 28))
SHAPE = Model(
    name="embedded model",
    transformer="SD3Transformer2DModel",
    config={},
    first_block={},
    width=192,
    blocks=8,
    text_tokens=16,
    image_tokens=64,
    branches=2,
    tau=4,
    inner_steps=100,
)


def measure(groups: list[int], dtype: Literal["float32", "bfloat16"], repeats: int, naive: bool) -> None:
    """Time whole runs, and the parts of a block, and print them.

    groups: group sizes.
    dtype: of the model.
    repeats: runs of each variant.
    naive: whether to run the papers' own forms too.
    """
    with tempfile.TemporaryDirectory() as folder:
        trained = (WEIGHTS / "pipeline" / "model_index.json").exists()
        path = str(WEIGHTS / "pipeline") if trained else save_untrained(Path(folder))
        generator = Generator(ModelSpec(path=path, dtype=dtype, device="cpu"))
    weights = "trained" if trained else "random"
    for size in groups:
        print(f"\nembedded model ({weights} weights, {dtype}) end to end, {SAMPLING.steps} steps, group of {size}")

        def draw(*interventions: InterventionConfig, size: int = size) -> None:
            group = Group(prompt=PROMPT, seeds=tuple(range(size)), sampling=SAMPLING, interventions=interventions)
            generator.generate([group])

        variants: dict[str, Callable[[], object]] = {
            "base": draw,
            "repulsion": partial(draw, REPULSION),
            "TORA": partial(draw, TORA),
            "both": partial(draw, TORA, REPULSION),
        }
        if naive:
            variants |= {
                parts.AUTOGRAD: papers_forms()(partial(draw, REPULSION)),
                parts.SVD: papers_forms()(partial(draw, TORA)),
            }
        show(compare(variants, repeats=repeats, device="cpu", label=f"embedded, B = {size}"), "base")
        with torch.inference_mode():
            calls = parts.tora(SHAPE, size, 12, "cpu", torch.float32)
            if size > 1:
                calls |= parts.repulsion(SHAPE, size, REPULSION, "cpu", torch.float32)
            calls = parts.without_papers_forms(calls)
            parts.show(compare(calls, repeats=9, device="cpu", label="parts"))
