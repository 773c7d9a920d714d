"""The `Desk` that the web process finds in another process, through Ray Serve."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from pipelines.serve.deferred import Deferred, Kind
from pipelines.serve.errors import ApiError


class ServeDesk:
    """A `Desk`; its methods raise ApiError (503) while it is away.

    handle: of the deployment of the desk.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def submit(self, job: Deferred) -> bool:
        """As of `Desk`."""
        return bool(await self._ask("submit", job))

    async def find(self, owner: str, job_id: str) -> Deferred | None:
        """As of `Desk`."""
        job: Deferred | None = await self._ask("find", owner, job_id)
        return job

    async def all_of(self, owner: str, kind: Kind | None = None) -> list[Deferred]:
        """As of `Desk`."""
        jobs: list[Deferred] = await self._ask("all_of", owner, kind)
        return jobs

    async def counts(self) -> dict[str, int]:
        """As of `Desk`."""
        counts: dict[str, int] = await self._ask("counts")
        return counts

    async def cancel(self, owner: str, job_id: str) -> Deferred | None:
        """As of `Desk`."""
        job: Deferred | None = await self._ask("cancel", owner, job_id)
        return job

    async def forget(self, owner: str, job_id: str) -> bool:
        """As of `Desk`."""
        return bool(await self._ask("forget", owner, job_id))

    async def keep(self, data: bytes, ending: str) -> str:
        """As of `Desk`."""
        return str(await self._ask("keep", data, ending))

    async def file(self, name: str) -> bytes | None:
        """As of `Desk`."""
        data: bytes | None = await self._ask("file", name)
        return data

    async def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except RayTaskError:  # an error of the desk's code
            raise
        except (RayError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError):
            message = "jobs and files cannot be reached for a moment; send it again"
            raise ApiError(503, message, code="desk_lost", retry_after_s=1) from None
