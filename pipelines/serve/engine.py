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
from ray.serve.schema import DeploymentStatusOverview

from models.info import ModelInfo
from pipelines.serve import callers
from pipelines.serve.jobs import Event, Job, Lost, Overloaded

_LOST = (RayError, DeploymentUnavailableError, ReplicaUnavailableError)
"""A worker, a node or an answer is lost."""
_STATUS_SECONDS = 1.0
_INFO_SECONDS = 2.0
"""So long Ray and a copy of the model may take to say what it is; one that is busy is asked again the next time."""


class ServeEngine:
    """An `Engine` on Ray Serve.

    workers: handle of the deployment of `Worker`.
    """

    def __init__(self, workers: DeploymentHandle[Any]) -> None:
        self._workers = workers.options(stream=True)
        self._name = workers.deployment_name
        self._asked = workers.options(stream=False)
        self._ready = (0.0, False)
        self._info: ModelInfo | None = None

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
        except _LOST:
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

    async def info(self) -> ModelInfo | None:
        """As `Engine.info`. No copy of the model is started to be asked, and all of them are of one model."""
        if self._info is None:
            with suppress(TimeoutError, BackPressureError, KeyError, *_LOST):  # a KeyError: as in `ready`
                async with asyncio.timeout(_INFO_SECONDS):
                    if await asyncio.to_thread(self._running):
                        self._info = await self._asked.info.remote()
        return self._info

    def _status(self) -> bool:
        return self._running() or self._deployment().status == "HEALTHY"

    def _running(self) -> bool:
        copies: Any = self._deployment().replica_states  # Ray annotates the keys as ReplicaState, but they are texts
        return bool(copies.get("RUNNING"))

    def _deployment(self) -> DeploymentStatusOverview:
        application = serve.status().applications[serve.get_replica_context().app_name]
        return application.deployments[self._name]
