"""Keeps jobs and files for callers who come back for them. It is a process of its own: it outlives the web process, and
where it has a folder, its jobs and files outlive it as well."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, nullcontext
from typing import Protocol, get_args

from pydantic import ValidationError

from pipelines.serve.deferred import Deferred, Kind, Status
from pipelines.serve.errors import ApiError, error_for
from pipelines.serve.folders import Folder
from pipelines.serve.jobs import Step
from pipelines.serve.response_schema import ImageResponse
from pipelines.serve.shelf import Shelf

_log = logging.getLogger("ray.serve")

_ROOM = "jobs"
_MOST_LOSSES = 3
"""Workers that a job may lose before it fails: it may be what kills them."""
_MOST_OVER = 1000
"""Jobs that are over and not forgotten; of more, the oldest are forgotten first."""

Keep = Callable[[bytes, str], Awaitable[str]]
"""Keeps a file, its content and the ending of its name, and returns its URL."""

Answer = Callable[[Deferred, Keep], AsyncGenerator[Step | ImageResponse, None]]
"""The steps of a job and its response; raises ApiError where it fails."""


class Desk(Protocol):
    """What the web process asks for. A job is found by the owner alone who has made it."""

    async def submit(self, job: Deferred) -> bool:
        """Begin a job when its turn comes; False where too many wait."""
        ...

    async def find(self, owner: str, job_id: str) -> Deferred | None:
        """A job; None where there is none, or not any more."""
        ...

    async def all_of(self, owner: str, kind: Kind | None = None) -> list[Deferred]:
        """All jobs of an owner, or those of a kind, the newest first."""
        ...

    async def counts(self) -> dict[str, int]:
        """How many jobs there are, of everybody, by status."""
        ...

    async def cancel(self, owner: str, job_id: str) -> Deferred | None:
        """Stop a job within one denoising step, unless it is over; the job, as of `find`."""
        ...

    async def forget(self, owner: str, job_id: str) -> bool:
        """Stop a job, and remove it with its files; False where there is none."""
        ...

    async def keep(self, data: bytes, ending: str) -> str:
        """As `Shelf.add`."""
        ...

    async def file(self, name: str) -> bytes | None:
        """As `Shelf.get`."""
        ...


class DeskHere:
    """The desk itself, in this process.

    answer: answers jobs.
    folder: where jobs and files lie.
    max_jobs: most jobs that are not over.
    at_once: model -> most jobs that are sent to its workers at the same time.
    max_bytes: most bytes of files, and of requests that are not over.
    seconds: how long files and jobs that are over are kept.
    log_errors: as of `Guard`.
    """

    def __init__(
        self,
        answer: Answer,
        folder: Folder,
        *,
        max_jobs: int,
        at_once: Mapping[str, int],
        max_bytes: int,
        seconds: float,
        log_errors: bool = False,
    ) -> None:
        self._answer, self._folder, self._log_errors = answer, folder, log_errors
        self._max_jobs, self._max_bytes, self._seconds = max_jobs, max_bytes, seconds
        self._shelf = Shelf(folder, max_bytes=max_bytes, seconds=seconds)
        self._jobs: dict[str, Deferred] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()
        self._turns = {model: asyncio.Semaphore(most) for model, most in at_once.items()}
        self._opening: asyncio.Task[None] | None = None

    async def check_health(self) -> None:
        """Ray Serve asks it every few seconds: so jobs of an earlier process go on before anybody asks for them."""
        await self._open()

    async def submit(self, job: Deferred) -> bool:
        """As of `Desk`."""
        await self._open()
        waiting = [len(one.request) for one in self._jobs.values() if not one.is_over]
        if len(waiting) >= self._max_jobs or sum(waiting) + len(job.request) > self._max_bytes:
            return False
        self._jobs[job.id] = job
        self._begin(job)
        await self._save(job)
        return True

    async def find(self, owner: str, job_id: str) -> Deferred | None:
        """As of `Desk`."""
        await self._open()
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    async def all_of(self, owner: str, kind: Kind | None = None) -> list[Deferred]:
        """As of `Desk`."""
        await self._open()
        own = [job for job in self._jobs.values() if job.owner == owner and kind in (None, job.kind)]
        return sorted(own, key=lambda job: (job.created_at, job.id), reverse=True)

    async def counts(self) -> dict[str, int]:
        """As of `Desk`."""
        await self._open()
        found = Counter(job.status for job in self._jobs.values())
        return {status: found[status] for status in get_args(Status)}

    async def cancel(self, owner: str, job_id: str) -> Deferred | None:
        """As of `Desk`."""
        job = await self.find(owner, job_id)
        if job is not None and (task := self._tasks.get(job.id)):
            await self._end(job, "cancelled")
            task.cancel()
        return job

    async def forget(self, owner: str, job_id: str) -> bool:
        """As of `Desk`."""
        job = await self.cancel(owner, job_id)
        if job is None:
            return False
        await self._remove(job)
        return True

    async def keep(self, data: bytes, ending: str) -> str:
        """As of `Desk`."""
        await self._open()
        return await self._shelf.add(data, ending)

    async def file(self, name: str) -> bytes | None:
        """As of `Desk`."""
        await self._open()
        return await self._shelf.get(name)

    async def _open(self) -> None:
        """Go on with what an earlier process has left, once; forget what is old."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._read())
        await self._opening
        await self._shelf.drop()
        over = sorted((job.completed_at, job.id) for job in self._jobs.values() if job.completed_at is not None)
        for at, (completed_at, job_id) in enumerate(over):
            if completed_at + self._seconds <= time.time() or len(over) - at > _MOST_OVER:
                await self._remove(self._jobs[job_id])

    async def _read(self) -> None:
        await self._shelf.open()
        for name in await asyncio.to_thread(self._folder.sizes, _ROOM):
            try:
                job = Deferred.model_validate_json(await asyncio.to_thread(self._folder.read_bytes, f"{_ROOM}/{name}"))
            except ValidationError:
                _log.warning("%s/%s of the state is no job of this release: it is left out", _ROOM, name)
                continue
            self._jobs[job.id] = job
            if not job.is_over:
                self._begin(job)

    def _begin(self, job: Deferred) -> None:
        task = self._tasks[job.id] = asyncio.create_task(self._run(job))
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _run(self, job: Deferred) -> None:
        try:
            # A job of a model that is not served any more needs no turn: its answer says so.
            turn = self._turns.get(job.model, nullcontext())
            async with asyncio.timeout(job.deadline - time.time()), turn:
                job.status = "in_progress"
                result = await self._made(job)
            await self._end(job, "completed", result=result)
        except TimeoutError:
            seconds = job.deadline - job.created_at
            await self._fail(job, ApiError(504, f"not done within {seconds:.4g} s; stopped", code="timeout"))
        except Exception as error:
            await self._fail(job, error_for(error, self._log_errors))

    async def _made(self, job: Deferred) -> str:
        """The name of the file with the response; a job that finds no room, or whose worker is lost, is sent again."""
        while True:
            try:
                return await self._attempt(job)
            except ApiError as error:
                job.losses += error.code == "worker_lost"
                if error.code not in ("overloaded", "worker_lost") or job.losses > _MOST_LOSSES:
                    raise
                await asyncio.sleep(float((error.headers or {}).get("Retry-After", 1)))

    async def _attempt(self, job: Deferred) -> str:
        left = self._max_bytes

        async def kept(data: bytes, ending: str) -> str:
            nonlocal left
            left -= len(data)
            if left < 0:  # the last file would have the first removed
                raise _too_large(self._max_bytes)
            return await self._shelf.add(data, ending)

        async def keep(data: bytes, ending: str) -> str:
            job.files.append(await kept(data, ending))
            return job.files_at + job.files[-1]

        async with aclosing(self._answer(job, keep)) as events:
            async for event in events:
                if isinstance(event, ImageResponse):
                    return await kept(event.model_dump_json().encode(), "json")
                job.step, job.steps = event.done, event.of
        raise AssertionError("a job's events end with its response, or an error")

    async def _fail(self, job: Deferred, error: ApiError) -> None:
        await self._end(job, "failed", error=error)

    async def _end(self, job: Deferred, status: Status, *, result: str = "", error: ApiError | None = None) -> None:
        if job.is_over:  # it was cancelled meanwhile
            return
        now = time.time()
        job.status, job.result, job.request = status, result, ""
        job.completed_at, job.expires_at = now, now + self._seconds
        if error is not None:
            job.error, job.error_status = error.told(), error.status_code
        await self._save(job)

    async def _save(self, job: Deferred) -> None:
        async with self._writing:  # in the order of what happens
            if job.id in self._jobs:
                await asyncio.to_thread(self._folder.write_bytes, _path(job), job.model_dump_json().encode())

    async def _remove(self, job: Deferred) -> None:
        self._jobs.pop(job.id, None)
        async with self._writing:
            await asyncio.to_thread(self._folder.remove, _path(job))
        for name in (*job.files, job.result):
            await self._shelf.remove(name)


def _too_large(most: int) -> ApiError:
    return ApiError(
        400,
        f"the answer takes more than the {most >> 20} MB in which this server keeps files (its url_cache_mb): ask for "
        "fewer or smaller images, or for url in place of b64_json",
        code="answer_too_large",
    )


def _path(job: Deferred) -> str:
    return f"{_ROOM}/{job.id}.json"
