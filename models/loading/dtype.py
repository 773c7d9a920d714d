"""Which number format a model runs in where nobody says one, and which ones a CPU has no units for. Importable without
torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.spec import ModelSpec

_CPU = Path("/proc/cpuinfo")
_BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16"}
_SLOWER = 40
"""bfloat16 products against float32 ones on a CPU without bfloat16 units: 43 and 1.1 GFLOP/s on two cores with AVX2."""


def resolved(spec: ModelSpec, *, gpus: bool) -> ModelSpec:
    """The same model with the number format that "auto" stands for: bfloat16 on a GPU, and on a CPU that has units for
    it; else float32.

    spec: the model.
    gpus: whether the device "auto" is a GPU.
    """
    if spec.dtype != "auto":
        return spec
    fast = _on_gpu(spec, gpus) or _computes_in("bfloat16") is True
    return replace(spec, dtype="bfloat16" if fast else "float32")


def slowness(spec: ModelSpec, *, gpus: bool) -> str:
    """A warning that the CPU here will crawl in the model's number format; "" where it will not, or a GPU runs it.

    spec: the model, as `resolved` gives it.
    gpus: whether the device "auto" is a GPU.
    """
    if spec.dtype == "float32" or _on_gpu(spec, gpus) or _computes_in(spec.dtype) is not False:
        return ""
    return (
        f"model.dtype = {spec.dtype!r}: this machine's CPU has no units for it, so that the model is about {_SLOWER} "
        "times slower than in float32; set model.dtype = 'auto' or 'float32', or run it on a GPU"
    )


def _on_gpu(spec: ModelSpec, gpus: bool) -> bool:
    return gpus if spec.device == "auto" else spec.device != "cpu"


def _computes_in(dtype: str) -> bool | None:
    """Whether this machine's CPU has units for 16-bit numbers; None where the system does not say, which is all but
    Linux."""
    try:
        flags = set(_CPU.read_text().split())
    except OSError:
        return None
    return dtype == "bfloat16" and bool(flags & _BFLOAT16_UNITS)
