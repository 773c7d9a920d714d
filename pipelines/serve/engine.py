"""The `Engine` that sends jobs to the workers through Ray Serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from pipelines.serve import callers
from pipelines.serve.jobs import Event, Job, Lost, Overloaded

_STATUS_SECONDS = 1.0


class ServeEngine:
    """An `Engine` on Ray Serve.

    workers: handle of the deployment of `Worker`.
    """

    def __init__(self, workers: DeploymentHandle[Any]) -> None:
        self._workers = workers.options(stream=True)
        self._name = workers.deployment_name
        self._ready = (0.0, False)

    async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        """As `Engine.generate`."""
        response: Any = self._workers.generate.remote(replace(job, caller=callers.here()))
        try:
            async for event in response:
                yield event
        except BackPressureError:
            raise Overloaded from None
        except RayTaskError:  # an error of the worker's code; the worker is alive
            raise
        except (RayError, DeploymentUnavailableError, ReplicaUnavailableError):  # worker, node or answer lost
            raise Lost from None
        finally:
            with suppress(Exception):  # it raises the response's error again, which would replace ours
                response.cancel()

    async def ready(self) -> bool:
        """Whether a copy of the model runs, or all of them have been removed while idle."""
        checked, answer = self._ready
        if time.monotonic() - checked > _STATUS_SECONDS:
            try:
                answer = await asyncio.to_thread(self._status)
            except (RayError, KeyError):  # the controller does not answer, or the app is being removed
                answer = False
            self._ready = (time.monotonic(), answer)
        return answer

    def _status(self) -> bool:
        application = serve.status().applications[serve.get_replica_context().app_name]
        deployment = application.deployments[self._name]
        copies: Any = deployment.replica_states  # Ray annotates the keys as ReplicaState, but they are texts
        return bool(copies.get("RUNNING")) or deployment.status == "HEALTHY"
