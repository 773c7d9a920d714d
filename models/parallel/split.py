"""Divides a loaded pipeline's work: the tokens of its transformer, and the images that its VAE decodes.

The pipeline itself runs on every rank with the whole batch, unchanged (the rows of the batch are divided in
`models.hooks.rows`). Tokens are divided by diffusers' context parallelism (Ulysses: at the attention a rank has all
tokens of some heads), by the plan that the transformer brings or, where it has none, the family's. Attention processors
that call torch's attention directly, and would silently attend to the rank's own tokens only, are wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from diffusers.hooks.context_parallel import apply_context_parallel
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from models.errors import ModelError
from models.families.base import Family
from models.parallel.division import Division
from models.parallel.shards import Axis, Shards

_AXES = ("cfg", "group", "ring", "ulysses")


def divide(pipe: Any, family: Family, division: Division, device: torch.device) -> Shards:
    """Make a pipeline do this rank's share of its work, and return the rank's place on the axes.

    pipe: a diffusers pipeline on `device`.
    family: its family.
    division: the sizes of the axes; torch.distributed must run on `division.ranks` ranks.
    device: of this rank.

    Raises:
        ModelError: when the tokens of this family, or the attention heads of this model, cannot be divided so.
    """
    mesh = init_device_mesh(device.type, (division.cfg, division.group, 1, division.context), mesh_dim_names=_AXES)
    everyone = Axis(size=division.ranks, rank=dist.get_rank(), process_group=dist.group.WORLD)
    if division.context > 1:
        _divide_tokens(pipe.transformer, family, mesh, device)
    pipe.vae.decode = _decoding_own_images(pipe.vae.decode, everyone)
    return Shards(cfg=_axis(mesh, "cfg"), group=_axis(mesh, "group"), context=_axis(mesh, "ulysses"), all=everyone)


def _axis(mesh: DeviceMesh, name: str) -> Axis:
    dimension = mesh[name]
    return Axis(size=dimension.size(), rank=dimension.get_local_rank(), process_group=dimension.get_group())


def _decoding_own_images(decode: Callable[..., Any], axis: Axis) -> Callable[..., Any]:
    def decode_own(latents: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor]:
        images = decode(axis.own_rows(latents), *args, **kwargs)[0]
        return (axis.gather_rows(images, len(latents)),)

    return decode_own


def _divide_tokens(transformer: Any, family: Family, mesh: DeviceMesh, device: torch.device) -> None:
    plan = family.context_plan or transformer._cp_plan
    if not plan:
        raise ModelError(
            f"the tokens of {family.name} models cannot be divided over ranks: use parallelism 'group' or 'cfg'"
        )
    heads, ranks = transformer.config.num_attention_heads, mesh["ulysses"].size()
    if -heads % ranks >= -(-heads // ranks):  # diffusers pads them for the last rank only
        raise ModelError(f"the {heads} attention heads of this model cannot be divided over {ranks} ranks")
    # `enable_parallelism` does this too, but not without a GPU, and its mesh has no room for other axes.
    config = ContextParallelConfig(ulysses_degree=ranks, ulysses_anything=True, mesh=mesh)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(dist.get_rank(), dist.get_world_size(), device, mesh=mesh)
    for module in transformer.modules():
        if isinstance(module, Attention | AttentionModuleMixin):
            processor: Any = module.processor
            if hasattr(processor, "_parallel_config"):
                processor._parallel_config = parallel
            else:
                module.processor = _ExchangingProcessor(processor, parallel)
    apply_context_parallel(transformer, config, plan)


class _ExchangingProcessor:
    """An attention processor that attends to the tokens of all ranks; it must not depend on their order."""

    def __init__(self, processor: Callable[..., Any], parallel: ParallelConfig) -> None:
        self.processor = processor
        self.exchange = _Exchange(parallel)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.exchange:
            return self.processor(*args, **kwargs)


class _Exchange(TorchFunctionMode):
    """Redirects torch's attention to diffusers' dispatcher, which supports context parallelism."""

    def __init__(self, parallel: ParallelConfig) -> None:
        super().__init__()
        self.parallel = parallel

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is not scaled_dot_product_attention:
            return func(*args, **options)
        query, key, value = (heads_BHSD.transpose(1, 2) for heads_BHSD in args)
        attended = dispatch_attention_fn(query, key, value, **options, parallel_config=self.parallel)
        return attended.transpose(1, 2)
