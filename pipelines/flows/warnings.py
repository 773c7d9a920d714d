"""What a person should know of a config that is not wrong: it is printed before the run, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator

from models.loading.dtype import slowness
from pipelines.config.run import RunConfig


def warnings(config: RunConfig) -> Iterator[str]:
    """One sentence or two for each."""
    if config.recommended.warning:
        yield config.recommended.warning
    if slow := slowness(config.model, gpus=config.ray.on_gpus):
        yield slow
