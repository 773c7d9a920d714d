"""One copy of the model behind the endpoint: packs waiting groups, denoises them in one thread, scores in another."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.generator import ModelInfo
from models.loading.revision import folder_revision
from models.replica.replica import open_generator
from models.scorers.clip import ClipScorer
from models.scorers.group import score_group
from pipelines.dataset import images
from pipelines.serve.jobs import Done, Event, Failed, Job, Scores, Started, Step
from pipelines.serve.packing import PackQueue, Room, Waiting
from pipelines.serve.settings import ServeArgs, resolve
from pipelines.stages.isolate import Failure, free_memory, leaving_a_lost_device, run_isolated

_log = logging.getLogger("ray.serve")

Pixels = NDArray[np.uint8]


class _Abandoned(ValueError):
    """Nobody waits for the batch any more."""


@dataclass(eq=False, kw_only=True)
class _Ticket:
    job: Job
    emit: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker:
    """An `Engine`, and the deployment that Ray Serve copies.

    Raises:
        ModelError: the model or the scorer cannot be loaded.
    """

    def __init__(self, args: ServeArgs) -> None:
        if args.threads_per_replica:
            torch.set_num_threads(args.threads_per_replica)
        self._args = args
        serving = resolve(args)
        model, folder = serving.model, Path(serving.model.path)
        if folder.exists() and not model.revision:
            model = replace(model, revision=folder_revision(folder))
        self._generator = open_generator(
            model,
            ranks=max(1, int(args.gpus_per_replica)),
            parallelism=args.parallelism,
            images=args.groups_per_batch,
            guided=serving.sampling.guidance_scale > 1.0,
            threads=args.threads_per_replica,
        )
        self._scorer = None
        if serving.scoring is not None:
            device = serving.model.device if args.gpus_per_replica else "cpu"
            self._scorer = ClipScorer(serving.scoring.model, serving.scoring.pretrained, device)
        room = Room(
            items=args.groups_per_batch,
            pixels=int(args.megapixels_per_batch * 1e6),
            wait_s=args.pack_wait_ms / 1000,
        )
        self._queue: PackQueue[_Ticket] = PackQueue(room)
        self._sign_of_life: float | None = None
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finish")
        self._denoiser = threading.Thread(target=self._denoise_all, name="denoise", daemon=True)
        self._denoiser.start()

    @property
    def info(self) -> ModelInfo:
        return self._generator.info

    async def ready(self) -> bool:
        return self._denoiser.is_alive()

    async def check_health(self) -> None:
        """Ray Serve replaces a copy for which this raises."""
        if not await self.ready():
            raise RuntimeError("the denoising thread has ended")
        last = self._sign_of_life
        if last is not None and time.monotonic() - last > self._args.timeout_s:
            raise RuntimeError(f"no denoising step for {self._args.timeout_s:g} s")

    async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        """See `Engine.generate`."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()

        def emit(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        ticket = _Ticket(job=job, emit=emit)
        width, height = job.group.sampling.width, job.group.sampling.height
        waiting = Waiting(
            item=ticket,
            key=ticket if job.exact else job.group.batch_key,
            pixels=len(job.group.seeds) * width * height,
        )
        self._queue.put(waiting)
        try:
            while True:
                event = await events.get()
                yield event
                if isinstance(event, Done | Failed):
                    return
        finally:
            ticket.cancelled.set()
            self._queue.discard(waiting)

    def close(self) -> None:
        """Finish the batch that is being made, drop what waits, and end the threads."""
        self._queue.close()
        self._denoiser.join()
        self._finisher.shutdown()

    def _denoise_all(self) -> None:
        while pack := self._queue.take():
            for waiting in pack:
                waiting.item.emit(Started())
            self._sign_of_life = time.monotonic()
            self._denoise([waiting.item for waiting in pack])
            self._sign_of_life = None

    def _denoise(self, tickets: Sequence[_Ticket]) -> None:
        began = time.perf_counter()
        made: list[tuple[_Ticket, Pixels]] = []

        def run(batch: list[_Ticket]) -> list[Pixels]:
            _wanted(batch)
            with leaving_a_lost_device():
                return self._generator.generate(
                    [t.job.group for t in batch], lambda done, of: self._step(batch, done, of)
                )

        for index, outcome in run_isolated(tickets, [range(len(tickets))], run, free_memory):
            if isinstance(outcome, Failure):
                self._fail(tickets[index], outcome.error_type, outcome.error)
            elif images.blank(outcome):
                self._fail(tickets[index], "BlankImage", "the model made images of a single colour")
            else:
                made.append((tickets[index], outcome))
        seconds = time.perf_counter() - began
        made = [(ticket, pixels) for ticket, pixels in made if not ticket.cancelled.is_set()]
        if made:  # beside the denoising of the next pack
            self._finisher.submit(self._finish, made, len(tickets), seconds)

    def _step(self, tickets: Sequence[_Ticket], done: int, of: int) -> None:
        self._sign_of_life = time.monotonic()
        for ticket in _wanted(tickets):
            if ticket.job.progress:
                ticket.emit(Step(done=done, of=of))

    def _fail(self, ticket: _Ticket, error_type: str, error: str) -> None:
        if ticket.cancelled.is_set():
            return
        _log.warning("a group failed: %s%s", error_type, f": {error}" if self._args.log_prompts else "")
        ticket.emit(Failed(error_type=error_type, error=error))

    def _finish(self, made: Sequence[tuple[_Ticket, Pixels]], groups: int, seconds: float) -> None:
        try:
            scores = self._score(made)
            for (ticket, pixels), of_group in zip(made, scores, strict=True):
                ticket.emit(
                    Done(
                        images=tuple(images.encode(image, ticket.job.image_format) for image in pixels),
                        image_ids=tuple(images.image_id(image) for image in pixels),
                        info=self.info,
                        scores=of_group,
                        groups_in_batch=groups,
                        generate_s=seconds,
                    )
                )
        except Exception as error:
            for ticket, _ in made:
                self._fail(ticket, type(error).__name__, str(error))

    def _score(self, made: Sequence[tuple[_Ticket, Pixels]]) -> list[Scores | None]:
        """Scores of each group as the batch job's score stage has them; None where they are off."""
        scorer = self._scorer
        asked = [scorer is not None and ticket.job.scores for ticket, _ in made]
        if scorer is None or not any(asked):
            return [None] * len(made)
        chosen = [(t.job, pixels) for (t, pixels), wanted in zip(made, asked, strict=True) if wanted]
        features_ND = scorer.embed_images(np.concatenate([pixels for _, pixels in chosen]))
        ends = np.cumsum([len(pixels) for _, pixels in chosen])
        described = iter(
            [
                _describe(scorer, job, features_BD)
                for (job, _), features_BD in zip(chosen, np.split(features_ND, ends[:-1]), strict=True)
            ]
        )
        return [next(described) if wanted else None for wanted in asked]


def _wanted(tickets: Sequence[_Ticket]) -> list[_Ticket]:
    """Those that someone still waits for. Raises _Abandoned if there are none."""
    alive = [ticket for ticket in tickets if not ticket.cancelled.is_set()]
    if not alive:
        raise _Abandoned
    return alive


def _public_name(scorer: str) -> str:
    """Without the folders of the server."""
    kind, _, path = scorer.partition(":")
    return f"{kind}:{Path(path).name}" if kind == "local-dir" else scorer


def _describe(scorer: ClipScorer, job: Job, features_BD: NDArray[np.float32]) -> Scores:
    texts = [job.group.prompt] + ([] if job.counterfactual is None else [job.counterfactual])
    prompt_D, *counterfactual_D = scorer.embed_texts(texts)
    group = score_group(features_BD, prompt_D, counterfactual_D[0] if counterfactual_D else None)
    return Scores(
        clip_model=_public_name(scorer.name),
        clip_score=tuple(group.score_B.tolist()),
        clip_margin=None if group.margin_B is None else tuple(group.margin_B.tolist()),
        nearest_similarity=None if group.nearest_B is None else tuple(group.nearest_B.tolist()),
        group_vendi=group.vendi,
        group_pair_similarity=group.pair_similarity,
    )
