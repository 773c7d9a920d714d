"""The generator that a run asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.spec import ModelSpec
from pipelines.config.tables import GroupSize, RayOptions

if TYPE_CHECKING:
    from models.generator import Generator
    from models.replica.replica import Replica


def open_model(model: ModelSpec, ray: RayOptions, group: GroupSize, guidance_scale: float) -> Generator | Replica:
    """Load the model with the CPU threads, and divided over the processes, of `ray`; it sets this process's threads.

    Raises: as `Generator` and `Replica` do.
    """
    import torch

    from models.replica.replica import open_generator

    torch.set_num_threads(ray.generator_threads)
    return open_generator(
        model,
        ranks=ray.gpus_per_replica,
        parallelism=ray.parallelism,
        images=group.size * group.groups_per_batch,
        guided=guidance_scale > 1.0,
        threads=ray.generator_threads,
        timeout_s=ray.rank_timeout_s,
    )
