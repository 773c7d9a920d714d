"""Which number format a model runs in where nobody says one, and which ones a CPU or a GPU has no units for. Importable
without torch."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from models.spec import ModelSpec

_CPU = Path("/proc/cpuinfo")
_BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16"}
_DRIVER_SECONDS = 10.0
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
    """A warning that the CPU here, or a GPU here, will crawl in the model's number format; "" where neither will.

    spec: the model, as `resolved` gives it.
    gpus: whether the device "auto" is a GPU.
    """
    if _on_gpu(spec, gpus):
        return _emulated() if spec.dtype == "bfloat16" else ""
    if spec.dtype == "float32" or _computes_in(spec.dtype) is not False:
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


def _emulated() -> str:
    """A warning that a GPU of this machine has no units for bfloat16; "" where all have, or the driver does not say."""
    ask = ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    for name, _, capability in (line.rpartition(",") for line in told.splitlines()):
        if re.fullmatch(r"[0-7]\.\d", capability.strip()):
            return (
                f"model.dtype = 'bfloat16': the GPU {name} of this machine has no units for it and emulates it slowly; "
                "set model.dtype = 'float16', and look at the first pictures, as some models (Qwen-Image) overflow in "
                "it, or 'float32'"
            )
    return ""
