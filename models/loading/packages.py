"""Packages that only some settings need: they are asked for before a model is loaded. Importable without torch."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from models.errors import ModelError
from models.spec import ModelSpec


def require_packages(spec: ModelSpec) -> None:
    """Check that what a model is loaded with is installed.

    Raises:
        ModelError: a package is missing; the message names it.
    """
    for setting, package in _needed(spec):
        if find_spec(package) is None:
            raise ModelError(
                f"{setting} needs the package {package}, which is not installed: pip install {package}, on every worker"
            )


def _needed(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    if spec.loras:
        yield "model.loras", "peft"
    for quantized in spec.quantize:
        yield f"model.quantize: {quantized.method}", quantized.method.split("-")[0]
    if spec.reads_gguf:
        yield f"model.transformer_file = {spec.transformer_file!r}", "gguf"
