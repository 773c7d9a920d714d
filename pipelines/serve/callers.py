"""Does the process that waits for a job still run? Ray goes on with an actor's work when the caller's process dies."""

from __future__ import annotations

import asyncio

_NAMESPACE = "serve"
"""Of the actors of Ray Serve."""


def here() -> str:
    """The name of this process among Ray's actors: of a copy of a Ray Serve deployment."""
    import ray

    name = ray.get_runtime_context().get_actor_name()
    assert name, "it is called in a copy of a deployment, which has a name"
    return name


async def runs(name: str) -> bool:
    """Whether an actor runs, as far as Ray can say.

    name: as `here` gives it; "" for a caller in the worker's own process, which runs as long as it asks.
    """
    return not name or await asyncio.to_thread(_found, name)


def _found(name: str) -> bool:
    import ray
    from ray.exceptions import RayError

    try:
        ray.get_actor(name, namespace=_NAMESPACE)
    except ValueError:  # there is none of this name, or it is dead
        return False
    except RayError:  # Ray's own service is away for a moment: that is no reason to stop work
        return True
    return True
