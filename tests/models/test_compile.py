"""Compiled blocks: the same pictures, compiled once, in any thread."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo import config as dynamo
from torch._inductor import config as inductor

from models.errors import ModelError
from models.generator import Generator
from models.interventions.dave import DaveConfig
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.parallel.division import Division
from models.spec import ModelSpec
from tests.support.small_groups import REPULSION, SAMPLING, TORA, difference, group

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")


@pytest.mark.soak
@pytest.mark.timeout(900)
@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_blocks_draw_the_same_whatever_came_before(dtype: Any, tiny_pipeline: str) -> None:
    both: dict[str, Any] = {"interventions": (TORA, REPULSION)}
    groups = [group(**both), group("a dot", (21, 22, 23), **both)]
    found = []
    for order in ((1, 2), (2, 1)):
        torch.compiler.reset()
        compiled = Generator(ModelSpec(path=tiny_pipeline, dtype=dtype, compile=True))
        with ThreadPoolExecutor(1) as other_thread:  # as in the job
            made = {count: other_thread.submit(compiled.generate, groups[:count]).result() for count in order}
        found.append([*made[1], *made[2]])
    for first, second in zip(*found, strict=True):
        assert np.array_equal(first, second)
    if dtype == "float32":  # a tiny random model makes much of bfloat16's other roundings
        stock = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))
        for image, plain in zip(found[0], [*stock.generate(groups[:1]), *stock.generate(groups)], strict=True):
            assert difference(image, plain) <= 1


@needs_compiler
def test_no_setting_of_an_intervention_is_compiled_into_a_block(tiny_pipeline: str) -> None:
    """As many settings as arms and requests have: blocks that held them would reach torch's limit."""
    compiled = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", compile=True))
    made: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Any:
        made.append(graph)
        return graph.forward

    for block in compiled.transformer.transformer_blocks:
        block.compile(dynamic=True, backend=backend)
    counts, pictures = [], []
    try:
        for number in range(1, 19):
            tora = ToraConfig(sigma=1.0 + number / 10, angle=number / 20, site=("attention", "block")[number % 2])
            configs = (tora, RepulsionConfig(strength=float(number)), DaveConfig(weight=number / 20))
            sampling = replace(SAMPLING, steps=1)
            (image,) = compiled.generate([group(sampling=sampling, interventions=configs)])
            counts.append(len(made))
            pictures.append(image.tobytes())
    finally:
        torch.compiler.reset()
    assert 0 < counts[3] == counts[-1]  # by then each site was met twice
    assert len({*pictures}) > len(pictures) / 2


@needs_compiler
def test_the_compilers_settings_hold_in_any_thread(tiny_pipeline: str) -> None:
    compiled = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", compile=True))
    seen: list[tuple[bool, bool]] = []

    def note(*_: int) -> None:
        seen.append((inductor.freezing, dynamo.fail_on_recompile_limit_hit))

    def draw() -> None:
        with torch.compiler.set_stance("force_eager"):  # what the compiler makes is tested above
            compiled.generate([group()], note)
        assert not inductor.freezing

    with ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(draw).result()
    assert seen == [(True, True)] * SAMPLING.steps


def test_compiled_blocks_are_refused_where_they_were_not_tried(tiny_pipeline: str) -> None:
    with pytest.raises(ValueError, match="compile = True"):
        ModelSpec(path=tiny_pipeline, weights="float8", compile=True)
    with pytest.raises(ModelError, match=r"model\.compile works on one GPU"):
        Generator(ModelSpec(path=tiny_pipeline, dtype="float32", compile=True), Division(cfg=2, group=1, context=1))


def test_compiled_blocks_need_a_compiler_from_the_start(tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(ModelError, match=r"install g\+\+"):
        Generator(ModelSpec(path=tiny_pipeline, dtype="float32", compile=True))
