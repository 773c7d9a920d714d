"""Estimates the memory of a generator, from the sizes of the model's files or of published models. Importable without
torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from models.checkpoints import size_of
from models.parallel.division import Division, division
from models.spec import ModelSpec, Offload, Quantization, Weights
from pipelines.config.run import RunConfig
from pipelines.errors import UserError

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FILE_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "F8_E4M3": 1, "U8": 1, "I8": 1}
_LONGEST_HEADER = 100 << 20
"""Bytes; safetensors itself reads no longer one."""
_QUANTISED_BYTES: dict[Quantization, float] = {
    "bitsandbytes-nf4": 0.56,
    "bitsandbytes-int8": 1,
    "torchao-int8": 1,
    "torchao-float8": 1,
}
"""Per weight, with the scales."""
_COPIES = 24
"""Memory of a block, as a multiple of its tokens: the hidden layer of the MLP alone is four times as wide."""
_DECODER_WIDTH = 1200
"""Values per pixel that an autoencoder's last layers hold at once."""
_PART = re.compile(r"-\d+-of-\d+$")
_TILE = 512 * 512
"""Pixels of a tile of the autoencoder."""
_TILE_FRAMES = 16
"""Frames of one."""
_FRAMES_OF_A_LATENT = 4
"""In the autoencoders of videos that there are."""


def parameters(folder: Path, variant: str = "") -> int:
    """Number of values in the safetensors files of a folder.

    variant: as `model.variant`; a component that has no such files is loaded from the others.
    """
    files = list(folder.glob("*.safetensors"))
    chosen = [file for file in files if _variant(file) == variant] or [file for file in files if not _variant(file)]
    return sum(map(_values, chosen))


def _variant(file: Path) -> str:
    """NAME.VARIANT.safetensors, where either may have the number of a part at its end."""
    return _PART.sub("", ".".join(file.name.split(".")[1:-1]))


def describe(config: RunConfig) -> str:
    """A text with the gigabytes per GPU (without GPUs, per process); on GPUs also for other settings."""
    parts = sizes(config)
    if parts is None:
        return "unknown: the model is not in a local folder"
    shape, model = shared(config), config.model
    weights, working = weight_bytes(config, parts), activation_bytes(config, shape)
    share = "" if shape.ranks == 1 else f", on each of {shape.ranks} ({shape})"
    chosen = f"{model.dtype}, weights = {model.weights!r}, offload = {model.offload!r}"
    kind = "videos, if their frames are decoded together," if config.videos else "images"
    estimate = (
        f"about {(weights + working) / 1e9:.1f} GB{share}: {weights / 1e9:.1f} GB of weights ({chosen}) and, to a "
        f"factor of 2, {working / 1e9:.1f} GB for {config.group.size * config.group.groups_per_batch} {kind} at once"
    )
    if not config.ray.gpus_per_generator:
        return estimate
    others = [
        f"{(weight_bytes(replace(config, model=other), parts) + working) / 1e9:.1f} GB with weights = "
        f"{other.weights!r}, offload = {other.offload!r}"
        for other in _other_ways(model)
    ]
    return "\n         ".join([estimate, *others])


def _other_ways(model: ModelSpec) -> Iterator[ModelSpec]:
    """The same model on less or more memory, as far as its other settings allow."""
    for weights, offload in product(get_args(Weights), get_args(Offload)):
        with suppress(ValueError):
            if (other := replace(model, weights=weights, offload=offload)) != model:
                yield other


def sizes(config: RunConfig) -> dict[str, int] | None:
    """The size of the model: component -> number of values; None where it is not known."""
    folder, model = Path(config.model.path), config.model
    parts = {at.name: parameters(at, model.variant) for at in {file.parent for file in folder.glob("*/*.safetensors")}}
    if "transformer" not in parts:
        published = size_of(model.path)
        if published is None:
            return None
        parts = published.parts
    return {name: count for name, count in parts.items() if name not in model.drop}


def shared(config: RunConfig) -> Division:
    """How the processes of a replica divide a batch, if the model's guidance is not distilled."""
    return division(
        config.ray.parallelism,
        config.ray.gpus_per_replica,
        images=config.group.size * config.group.groups_per_batch,
        guided=config.guided,
    )


def weight_bytes(config: RunConfig, parts: dict[str, int]) -> int:
    """Bytes of weights on a GPU at a time.

    config: the run.
    parts: component -> number of values.
    """
    model = config.model
    sizes = {name: count * _BYTES[model.dtype] for name, count in parts.items()}
    for quantized in model.quantize:
        sizes[quantized.part] = int(parts[quantized.part] * _QUANTISED_BYTES[quantized.method])
    if model.transformer_file:
        sizes["transformer"] = Path(model.transformer_file).stat().st_size
    if model.weights == "float8":
        sizes["transformer"] = parts["transformer"]
    if model.offload == "model":
        return max(sizes.values())
    if model.offload == "group":
        return sum(sizes.values()) - sizes["transformer"]
    return sum(sizes.values())


def activation_bytes(config: RunConfig, shape: Division) -> int:
    """Bytes of activations in a transformer block or in the autoencoder, whichever is more. Some autoencoders decode a
    few frames of a video at a time, and need less.

    config: the run.
    shape: how the processes of a replica divide a batch.
    """
    sampling, size = config.sampling, _BYTES[config.model.dtype]
    branches = 2 if config.guided else 1
    images = config.group.size * config.group.groups_per_batch
    rows = -(-images // shape.group) * max(1, branches // shape.cfg)
    pixels = sampling.width * sampling.height
    tokens = (latent_frames(config) * pixels // 256 + sampling.max_sequence_length + 77) // shape.context
    decoded = 1 if config.model.vae_slicing else -(-images // shape.ranks)
    of_a_tile = min(pixels, _TILE) * min(sampling.frames, _TILE_FRAMES)
    at_once = decoded * (of_a_tile if config.model.vae_tiling else pixels * sampling.frames)
    return int(max(rows * tokens * _width(config) * _COPIES * size, at_once * _DECODER_WIDTH * size))


def latent_frames(config: RunConfig) -> int:
    """Frames of a video as the transformer sees it; 1 for a picture."""
    every = setting(Path(config.model.path), "vae", "temporal_compression_ratio")
    every = every if isinstance(every, int) and every > 0 else _FRAMES_OF_A_LATENT
    return (config.sampling.frames - 1) // every + 1


def _width(config: RunConfig) -> int:
    if published := size_of(config.model.path):
        return published.width
    folder = Path(config.model.path)
    sizes = (setting(folder, "transformer", key) for key in ("num_attention_heads", "attention_head_dim"))
    heads, dim = (size if isinstance(size, int) and size > 0 else None for size in sizes)
    return (heads or 24) * (dim or 64)


def setting(model: Path, component: str, key: str) -> Any:
    """A setting of a component's config; None where there is no config, or it has no such key.

    model: the pipeline's folder.
    component: such as "vae".
    key: the setting.

    Raises:
        UserError: when the config is not a JSON object.
    """
    file = model / component / "config.json"
    try:
        content = json.loads(file.read_bytes())
        return content.get(key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise UserError(f"{file} is not the config of a model: {error}") from error


def _values(file: Path) -> int:
    """Number of values in a safetensors file, which begins with a length of 8 bytes and a JSON object."""
    try:
        with file.open("rb") as opened:
            header = json.loads(opened.read(min(int.from_bytes(opened.read(8), "little"), _LONGEST_HEADER)))
        tensors = (tensor for name, tensor in header.items() if name != "__metadata__")
        return sum((t["data_offsets"][1] - t["data_offsets"][0]) // _FILE_BYTES.get(t["dtype"], 1) for t in tensors)
    except (OSError, ValueError, RecursionError, TypeError, AttributeError, LookupError) as error:
        raise UserError(f"{file} is not a file of weights; fetch the model again: {error}") from error
