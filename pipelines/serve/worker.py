"""One copy of the model of the endpoint: packs waiting groups, denoises them in one thread, and scores in another."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.drawn import Drawn
from models.info import ModelInfo
from models.loading.revision import folder_revision
from models.previews import Previews
from models.replica.replica import open_generator
from models.spec import Group
from pipelines.dataset.content_credentials import finishing
from pipelines.dataset.failures import Failure
from pipelines.serve import callers
from pipelines.serve.fitted import fitted, fps_of
from pipelines.serve.jobs import CALLER_GONE, TOO_LATE, Done, Event, Job, Preview, Started, Step
from pipelines.serve.packing import PackQueue, Room, Waiting
from pipelines.serve.picture_files import file_of
from pipelines.serve.scores import GroupScorer
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs
from pipelines.stages.draw import OnStep, draw

_log = logging.getLogger("ray.serve")
_LOOK_SECONDS = 2.0
"""Between two looks at whether a job's caller runs."""


class _Abandoned(ValueError):
    """No caller waits for the batch any more."""


@dataclass(eq=False, kw_only=True)
class _Ticket:
    job: Job
    emit: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker:
    """An `Engine`, and the deployment that Ray Serve replicates.

    args: the settings.

    Raises:
        ModelError: when the model or the scorer cannot be loaded.
        UserError: when a setting does not fit.
    """

    def __init__(self, args: ServeArgs) -> None:
        self._args = args
        self._finishing = finishing(mark=args.mark, credentials=args.credentials)
        serving = resolve(args)
        model, folder = serving.model, Path(serving.model.path)
        if folder.exists() and not model.revision:
            model = replace(model, revision=folder_revision(folder))
        device = serving.model.device if args.gpus_per_replica else "cpu"
        # First, as it takes seconds: a wrong scorer is found before a large model is loaded.
        self._score = None if serving.scoring is None else GroupScorer(serving.scoring, device)
        self._generator = open_generator(model, serving.ranks(args))
        room = Room(
            items=args.groups_per_batch,
            pixels=int(args.megapixels_per_batch * 1e6),
            wait_s=args.pack_wait_ms / 1000,
        )
        self._queue: PackQueue[_Ticket] = PackQueue(room)
        self._last_step: float | None = None
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finish")
        # One at a time: a picture of a megabyte may be a gigabyte of pixels.
        self._fitter = ThreadPoolExecutor(1, thread_name_prefix="fit")
        self._denoiser = threading.Thread(target=self._denoise_all, name="denoise", daemon=True)
        self._denoiser.start()

    @property
    def _model(self) -> ModelInfo:
        return self._generator.info

    async def info(self) -> ModelInfo:
        """As `Engine.info`."""
        return self._model

    async def ready(self) -> bool:
        """As `Engine.ready`."""
        return self._denoiser.is_alive()

    async def check_health(self) -> None:
        """Raise an error where the worker is broken: Ray Serve then replaces it."""
        if not await self.ready():
            raise RuntimeError("the denoising thread has ended")
        last = self._last_step
        if last is not None and time.monotonic() - last > self._args.timeout_s:
            raise RuntimeError(f"no denoising step for {self._args.timeout_s:g} s")

    async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        """As `Engine.generate`."""
        loop = asyncio.get_running_loop()
        job_or_failure = await loop.run_in_executor(self._fitter, fitted, job, self._model)
        if isinstance(job_or_failure, Failure):
            yield job_or_failure
            return
        job = job_or_failure
        events: asyncio.Queue[Event] = asyncio.Queue()

        def emit(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: the caller has disconnected
                loop.call_soon_threadsafe(events.put_nowait, event)

        ticket = _Ticket(job=job, emit=emit)
        sampling = job.group.sampling
        waiting = Waiting(
            item=ticket,
            key=None if job.exact else job.group.batch_key,
            pixels=len(job.group.seeds) * sampling.frames * sampling.width * sampling.height,
        )
        self._queue.put(waiting)
        watch = asyncio.create_task(self._end(ticket))
        try:
            while True:
                event = await events.get()
                yield event
                if isinstance(event, Done | Failure):
                    return
        finally:
            watch.cancel()
            ticket.cancelled.set()
            self._queue.discard(waiting)

    async def _end(self, ticket: _Ticket) -> None:
        """End a job that nobody waits for, or whose time is up, also where the events that it has sent stay unread."""
        seconds = ticket.job.timeout_s or self._args.timeout_s
        try:
            async with asyncio.timeout(seconds):
                while await callers.runs(ticket.job.caller):
                    await asyncio.sleep(_LOOK_SECONDS)
            end = Failure(error_type=CALLER_GONE, error="the process that waited for it has died; stopped")
        except TimeoutError:
            end = Failure(error_type=TOO_LATE, error=f"not done within {seconds:g} s; stopped")
        ticket.cancelled.set()
        ticket.emit(end)

    def close(self) -> None:
        """Finish the current batch, drop the waiting groups, and end the threads."""
        self._queue.close()
        self._denoiser.join()
        self._finisher.shutdown()
        self._fitter.shutdown()

    def _denoise_all(self) -> None:
        while pack := self._queue.take():
            self._last_step = time.monotonic()
            for waiting in pack:
                waiting.item.emit(Started())
            self._denoise([waiting.item for waiting in pack])
            self._last_step = None

    def _denoise(self, tickets: Sequence[_Ticket]) -> None:
        began = time.perf_counter()
        made: list[tuple[_Ticket, Drawn]] = []
        asked: list[_Ticket] = []

        @contextmanager
        def around(batch: Sequence[int]) -> Iterator[OnStep]:
            asked[:] = [tickets[index] for index in batch]
            _waited_for(asked)
            yield lambda done, of: self._step(asked, done, of)

        def make(groups: Sequence[Group], on_step: OnStep) -> list[Drawn]:
            return self._generator.draw(groups, on_step, previews=self._previews(asked))

        groups = [ticket.job.group for ticket in tickets]
        for index, outcome in draw(make, groups, [range(len(tickets))], around):
            if isinstance(outcome, Failure):
                self._fail(tickets[index], outcome)
            else:
                made.append((tickets[index], outcome))
        seconds = time.perf_counter() - began
        made = [(ticket, drawn) for ticket, drawn in made if not ticket.cancelled.is_set()]
        if made:  # during the denoising of the next pack
            self._finisher.submit(self._finish, made, len(tickets), seconds)

    def _step(self, tickets: Sequence[_Ticket], done: int, of: int) -> None:
        self._last_step = time.monotonic()
        for ticket in _waited_for(tickets):
            if ticket.job.progress:
                ticket.emit(Step(done=done, of=of))

    def _previews(self, tickets: Sequence[_Ticket]) -> Previews | None:
        """Previews for the tickets that want them; None where no one does."""
        if not any(ticket.job.previews for ticket in tickets):
            return None

        def send(group: int, pixels_BHWC: NDArray[np.uint8]) -> None:
            # Encoded by the thread that sends the images too, so that none comes after them.
            self._finisher.submit(self._show, tickets[group], pixels_BHWC)

        return Previews(wanted=[ticket.job.previews for ticket in tickets], send=send)

    def _show(self, ticket: _Ticket, pixels_BHWC: NDArray[np.uint8]) -> None:
        if not ticket.cancelled.is_set():
            ticket.emit(Preview(images=self._files(pixels_BHWC, ticket.job)[0]))

    def _files(self, pixels_BHWC: NDArray[np.uint8], job: Job) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """The files and the ids of images."""
        encoded = [file_of(picture, job, fps_of(job, self._model)) for picture in pixels_BHWC]
        return tuple(self._finishing(one.data) for one in encoded), tuple(one.image_id for one in encoded)

    def _fail(self, ticket: _Ticket, failure: Failure) -> None:
        if ticket.cancelled.is_set():
            return
        details = f": {failure.error}" if self._args.log_prompts else ""
        _log.warning("a group failed: %s%s", failure.error_type, details)
        ticket.emit(failure)

    def _finish(self, made: Sequence[tuple[_Ticket, Drawn]], groups: int, seconds: float) -> None:
        try:
            jobs = [(ticket.job, drawn) for ticket, drawn in made]
            scores = self._score(jobs) if self._score else [None] * len(jobs)
            for (ticket, drawn), of_group in zip(made, scores, strict=True):
                files, ids = self._files(drawn.pixels, ticket.job)
                ticket.emit(
                    Done(
                        images=files,
                        image_ids=ids,
                        info=self._model,
                        tokens_cut=drawn.tokens_cut,
                        negative_tokens_cut=drawn.negative_tokens_cut,
                        scores=of_group,
                        frames=ticket.job.group.sampling.frames,
                        fps=fps_of(ticket.job, self._model),
                        groups_in_batch=groups,
                        generate_s=seconds,
                    )
                )
        except Exception as error:
            for ticket, _ in made:
                self._fail(ticket, Failure(error_type=type(error).__name__, error=str(error)))


def _waited_for(tickets: Sequence[_Ticket]) -> list[_Ticket]:
    """The tickets whose callers still wait; raises _Abandoned where there are none."""
    alive = [ticket for ticket in tickets if not ticket.cancelled.is_set()]
    if not alive:
        raise _Abandoned
    return alive
