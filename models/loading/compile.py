"""Compiles the joint blocks of a transformer with torch.compile, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from models.errors import ModelError
from models.families.base import Family
from models.parallel.division import Division

_VARIANTS_PER_BLOCK = 2**4 * 2 * 2
"""Most compiled variants of one block: each of its four sites has edits or none, the call begins with the positive or
with the negative text, and it has one row or several. Settings of edits do not count, as `models.hooks.blocks` makes
them outside of the compiled code. All blocks share torch's limit, as they run the same code."""


def compile_blocks(
    transformer: Any, family: Family, device: str, divided: Division
) -> Callable[[], AbstractContextManager[None]]:
    """Mark the joint blocks for compilation at their first call, and return what makes the context that they run in.

    They are compiled for all shapes at once, as an image must not depend on the shapes of the batches before its own.

    transformer: of the pipeline.
    family: names its block lists.
    device: where the blocks run.
    divided: how ranks share a batch.

    Raises:
        ModelError: when several processes share a batch, or there is no C++ compiler and the blocks run on a CPU.
    """
    if divided.ranks > 1:
        raise ModelError(
            "model.compile works on one GPU per replica: set ray.gpus_per_replica to 1, or compile to false"
        )
    if device == "cpu":  # fail at start-up, not in every group
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise ModelError(
                "model.compile needs a C++ compiler where the device is a CPU: install g++ on every worker, or set "
                "compile to false"
            ) from error
    blocks = [block for facts in family.block_lists for block in getattr(transformer, facts.name)]
    for block in blocks:
        block.compile(dynamic=True)
    return partial(_settings, _VARIANTS_PER_BLOCK * len(blocks), device == "cpu")


@contextmanager
def _settings(limit: int, freezing: bool) -> Iterator[None]:
    """torch's settings while compiled blocks run. torch keeps them per thread, and the thread that generates need not
    be the one that loaded the model."""
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    with (
        # Beyond its limits torch would run blocks uncompiled without a message.
        dynamo.patch(recompile_limit=limit, accumulated_recompile_limit=limit, fail_on_recompile_limit_hit=True),
        # Frozen weights are laid out once for a CPU's matrix products; a GPU does not need that.
        inductor.patch(freezing=freezing),
    ):
        yield
