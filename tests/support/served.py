"""The endpoint without Ray, for tests: the real web application on a real worker at toy size, on a real port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn

from models.info import ModelInfo
from pipelines.serve.answers import ImagesDesk
from pipelines.serve.door import Door
from pipelines.serve.jobs import Engine, Event, Job
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import models_of, offered
from pipelines.serve.web import create_app

if TYPE_CHECKING:
    from pipelines.serve.worker import Worker

TINY: dict[str, Any] = {
    "size": "16x16",
    "sizes": "16x16,24x16",
    "steps": 2,
    "guidance_scale": 4.0,
    "max_sequence_length": 16,
    "max_n": 4,
    "max_steps": 1000,
}
"""Settings that fit the tiny pipeline."""


def tiny_args(pipeline: str, clip: str) -> ServeArgs:
    """An endpoint on these tiny models, in which requests easily share a batch."""
    return ServeArgs(
        model=pipeline, name="tiny", dtype="float32", scoring=clip, groups_per_batch=4, pack_wait_ms=100, **TINY
    )


@dataclass(frozen=True, kw_only=True)
class Served:
    url: str
    worker: Worker
    args: ServeArgs
    workers: Sequence[Worker]
    """One for each model; `worker` is the first."""


@contextmanager
def serving(args: ServeArgs, keys: Keys | None = None) -> Iterator[Served]:
    """Run the endpoint in this process until the block ends."""
    from pipelines.serve.worker import Worker

    workers = [Worker(model.args) for model in offered(args)]
    try:
        with listening(args, workers[0], keys or Keys(), more=workers[1:]) as url:
            yield Served(url=url, worker=workers[0], args=args, workers=workers)
    finally:
        for worker in workers:
            worker.close()


@contextmanager
def listening(
    args: ServeArgs, engine: Engine, keys: Keys, door: Door | None = None, more: Sequence[Engine] = ()
) -> Iterator[str]:
    """The URL of the web application in front of an engine, and of more for further models, until the block ends."""
    models = models_of(args, [engine, *more])
    app = create_app(models, ImagesDesk(models), keys, door or Door())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the web server ended at once"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class BrokenEngine:
    """An engine without a model: it sends some events, and fails."""

    events: tuple[Event, ...] = ()

    async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        for event in self.events:
            yield event
        raise RuntimeError("secret detail")

    async def ready(self) -> bool:
        return True

    async def info(self) -> ModelInfo | None:
        return None


def post(served: Served, *, timeout: float = 60, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{served.url}/v1/images/generations", json={"prompt": "a red star", **body}, timeout=timeout)
