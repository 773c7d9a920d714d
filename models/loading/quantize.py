"""Parts of a model with fewer bits per weight: quantised while they are loaded, or read from a file that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from models.errors import ModelError
from models.families.base import Family
from models.loading.revision import content_revision
from models.spec import ModelSpec, Quantization


def quantization(spec: ModelSpec, index: Mapping[str, Sequence[str]]) -> Any:
    """The settings with which diffusers quantises parts of a pipeline; None where there is nothing to do.

    spec: the model.
    index: component of the pipeline -> library and class.

    Raises:
        ModelError: the pipeline has no such part.
    """
    chosen = {}
    for asked in spec.quantize:
        if asked.part not in index or asked.part in spec.drop:
            raise ModelError(f"model.quantize: {asked.part!r} is not loaded, so it cannot be quantised")
        library: Any = diffusers if index[asked.part][0] == "diffusers" else transformers
        chosen[asked.part] = _config(asked.method, library, getattr(torch, spec.dtype))
    return diffusers.PipelineQuantizationConfig(quant_mapping=chosen) if chosen else None


def _config(method: Quantization, library: Any, dtype: torch.dtype) -> Any:
    """library: diffusers and transformers have classes of their own for their models."""
    if method == "bitsandbytes-nf4":
        return library.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    if method == "bitsandbytes-int8":
        return library.BitsAndBytesConfig(load_in_8bit=True)
    from torchao import quantization as torchao

    kinds = {"torchao-int8": torchao.Int8WeightOnlyConfig, "torchao-float8": torchao.Float8WeightOnlyConfig}
    return library.TorchAoConfig(kinds[method]())


def transformer_of_file(spec: ModelSpec, family: Family) -> Any:
    """The transformer in a single file, GGUF or safetensors, with the model's own config.

    Raises:
        ModelError: the file is not the one that the run was planned with.
    """
    at = Path(spec.transformer_file)
    planned = spec.transformer_file_revision
    if planned and (found := content_revision(at)) != planned:
        raise ModelError(
            f"model.transformer_file = {str(at)!r} holds {found} here, but the run was planned with {planned}"
        )
    dtype = getattr(torch, spec.dtype)
    packed = {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)} if spec.reads_gguf else {}
    origin = {} if Path(spec.path).exists() else {"config_revision": spec.revision or None}
    return getattr(diffusers, family.transformer).from_single_file(
        str(at), config=spec.path, subfolder="transformer", torch_dtype=dtype, **origin, **packed
    )
