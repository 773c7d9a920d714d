"""What a person should know of a config that is not wrong: it is printed before the run, and the run goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipelines.config.run import RunConfig
from pipelines.dataset.storage import Storage

_CPU = Path("/proc/cpuinfo")
_HIVE = re.compile(r"[^=]+=.*")
_BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16"}
_SLOWER = 40
"""bfloat16 products against float32 ones on a CPU without bfloat16 units: 43 and 1.1 GFLOP/s on two cores with AVX2."""


def warnings(config: RunConfig) -> Iterator[str]:
    """One sentence or two for each."""
    if config.recommended.warning:
        yield config.recommended.warning
    if config.model.dtype != "float32" and not config.ray.gpus_per_generator and not _computes_in_halves(config):
        yield (
            f"model.dtype = {config.model.dtype!r}: this machine's CPU has no units for it, so that the model is about "
            f"{_SLOWER} times slower than in float32; set model.dtype = 'float32', or ray.gpus_per_generator"
        )
    if named := [part for part in PurePosixPath(Storage.open(config.run.output).uri).parts if _HIVE.fullmatch(part)]:
        yield (
            f"run.output = {config.run.output!r}: readers such as DuckDB and polars take the folder {named[0]!r} for a "
            "column of every row, in place of the rows' own of this name; choose a name without '='"
        )


def _computes_in_halves(config: RunConfig) -> bool:
    """Whether this CPU has units for the config's 16-bit numbers; workers may have other CPUs."""
    try:
        flags = set(_CPU.read_text().split())
    except OSError:
        return True  # another system than Linux does not say
    return config.model.dtype == "bfloat16" and bool(flags & _BFLOAT16_UNITS)
