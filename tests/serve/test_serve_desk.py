"""The desk: jobs whose workers die, whose time is up, which grow old; files that are kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from pipelines.dataset.storage import Storage
from pipelines.serve.answers import ImagesDesk
from pipelines.serve.caller_jobs import CallerJobs
from pipelines.serve.deferred import Deferred, deferred
from pipelines.serve.desk import DeskHere, Keep
from pipelines.serve.errors import ApiError
from pipelines.serve.folders import Folder, Memory
from pipelines.serve.jobs import Step
from pipelines.serve.keys import Keys
from pipelines.serve.metrics import Metrics
from pipelines.serve.rates import Rates
from pipelines.serve.response_schema import ImageResponse
from pipelines.serve.schema import ImageRequest, request_model
from pipelines.serve.serve_desk import ServeDesk
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import models_of
from pipelines.serve.shelf import Shelf
from tests.support.served import BrokenEngine, tiny_args

ME = "me"
MADE = ImageResponse.model_construct(created=1, data=[], output_format="png")
Behaviour = Callable[[int], Coroutine[Any, Any, None]]
"""What the worker does at the n-th attempt, from 1 on, before it has the response."""


class Fixture:
    """A desk whose workers behave as a test says."""

    def __init__(self, behaviour: Behaviour, folder: Folder | None = None, **changes: Any) -> None:
        self.attempts, self.running, self.most_running = 0, 0, 0
        self.folder = folder or Memory()

        async def answer(job: Deferred, keep: Keep) -> AsyncGenerator[Step | ImageResponse, None]:
            self.attempts += 1
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            try:
                yield Step(done=1, of=2)
                await behaviour(self.attempts)
                await keep(b"picture", "png")
                yield MADE
            finally:
                self.running -= 1

        limits = {"max_jobs": 10, "at_once": {"tiny": 2}, "max_bytes": 10_000, "seconds": 60.0}
        self.desk = DeskHere(answer, self.folder, **{**limits, **changes})

    async def over(self, job: Deferred) -> Deferred:
        while (found := await self.desk.find(ME, job.id)) is not None and not found.is_over:
            await asyncio.sleep(0.005)
        assert found is not None
        return found


def job(number: int = 0, seconds: float = 60.0) -> Deferred:
    now = time.time()
    own = {"id": f"image_{number}", "owner": ME, "kind": "image", "model": "tiny", "request": "{}", "files_at": "u/"}
    return Deferred.model_validate(own | {"created_at": now, "deadline": now + seconds})


async def nothing(attempt: int) -> None:
    await asyncio.sleep(0)


def lost() -> ApiError:
    return ApiError(503, "lost", code="worker_lost", retry_after_s=0)


def test_a_job_whose_worker_dies_begins_anew_but_not_for_ever() -> None:
    async def dies_twice(attempt: int) -> None:
        if attempt <= 2:
            raise lost()

    async def dies(attempt: int) -> None:
        raise lost()

    async def busy_often(attempt: int) -> None:
        if attempt <= 20:
            raise ApiError(429, "full", code="overloaded", retry_after_s=0)

    async def ends(behaviour: Behaviour) -> tuple[str, int, int]:
        fixture = Fixture(behaviour)
        await fixture.desk.submit(job())
        made = await fixture.over(job())
        return made.status, made.error_status if made.error else 200, fixture.attempts

    assert asyncio.run(ends(dies_twice)) == ("completed", 200, 3)
    assert asyncio.run(ends(dies)) == ("failed", 503, 4)
    assert asyncio.run(ends(busy_often)) == ("completed", 200, 21)


def test_a_job_is_stopped_at_its_deadline_also_while_it_waits_for_its_turn() -> None:
    async def never(attempt: int) -> None:
        await asyncio.sleep(60)

    async def ends() -> None:
        fixture = Fixture(never, at_once={"tiny": 1})
        deadlines = {1: 0.3, 2: 0.1}
        for number, seconds in deadlines.items():
            await fixture.desk.submit(job(number, seconds=seconds))
        for number, seconds in deadlines.items():
            made = await fixture.over(job(number))
            assert made.error is not None
            assert (made.error_status, made.error.code) == (504, "timeout")
            assert made.error.message == f"not done within {seconds} s; stopped"
        assert (fixture.running, fixture.attempts) == (0, 1)

    asyncio.run(ends())


def test_jobs_of_a_model_do_not_wait_for_those_of_another() -> None:
    async def slow_at_first(attempt: int) -> None:
        await asyncio.sleep(60 if attempt == 1 else 0)

    async def ends() -> None:
        fixture = Fixture(slow_at_first, at_once={"tiny": 1, "other": 1})
        await fixture.desk.submit(job(1))
        while not fixture.running:
            await asyncio.sleep(0.005)
        for number, model in ((2, "other"), (3, "served no more")):
            await fixture.desk.submit(job(number).model_copy(update={"model": model}))
            assert (await fixture.over(job(number))).status == "completed"
        await fixture.desk.cancel(ME, "image_1")

    asyncio.run(ends())


def test_an_error_that_is_not_meant_for_callers_is_not_told() -> None:
    async def breaks(attempt: int) -> None:
        raise RuntimeError("secret detail")

    async def ends() -> Deferred:
        fixture = Fixture(breaks)
        await fixture.desk.submit(job())
        return await fixture.over(job())

    made = asyncio.run(ends())
    assert (made.status, made.error_status) == ("failed", 500)
    assert "secret" not in made.model_dump_json()


def test_jobs_run_in_their_turns_and_the_rest_waits() -> None:
    async def ends() -> None:
        gate = asyncio.Event()

        async def when_let(attempt: int) -> None:
            await gate.wait()

        fixture = Fixture(when_let, max_jobs=5, max_bytes=1000)
        assert [await fixture.desk.submit(job(number)) for number in range(6)] == [True] * 5 + [False]
        gate.set()
        for number in range(5):
            await fixture.over(job(number))
        assert fixture.most_running <= 2
        large = job(9)
        large.request = "x" * 2000
        assert not await fixture.desk.submit(large)

    asyncio.run(ends())


@pytest.mark.parametrize("kept_in", ["memory", "folder"])
def test_jobs_that_are_over_are_forgotten_after_a_while_with_their_files(kept_in: str, tmp_path: Path) -> None:
    async def ends() -> None:
        folder: Folder = Memory() if kept_in == "memory" else Storage.open(tmp_path)
        fixture = Fixture(nothing, folder, seconds=0.5)
        await fixture.desk.submit(job())
        made = await fixture.over(job())
        assert await fixture.desk.file(made.result) is not None
        assert (len(folder.sizes("files")), len(folder.sizes("jobs"))) == (2, 1)
        await asyncio.sleep(0.6)
        await fixture.desk.check_health()
        assert await fixture.desk.find(ME, made.id) is None
        assert (len(folder.sizes("files")), len(folder.sizes("jobs"))) == (0, 0)

    asyncio.run(ends())


def test_a_desk_goes_on_with_what_an_earlier_one_has_left(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)

    async def never(attempt: int) -> None:
        await asyncio.sleep(60)

    async def dies() -> None:
        assert await Fixture(never, folder).desk.submit(job())

    async def goes_on() -> Deferred:
        fixture = Fixture(nothing, folder)
        await fixture.desk.check_health()  # nobody has asked for the job yet
        assert fixture.desk._tasks
        return await fixture.over(job())

    asyncio.run(dies())
    folder.write_bytes("jobs/torn.json", b"{")
    assert asyncio.run(goes_on()).status == "completed"


def test_a_job_that_does_not_fit_new_settings_says_why(tiny_pipeline: str, tiny_clip: str) -> None:
    args = tiny_args(tiny_pipeline, tiny_clip)
    asked = request_model(args, resolve(args), ImageRequest).model_validate({"prompt": "a red star", "n": 4})
    job = deferred("image", "pipeline", asked, owner="", files_at="", about={}, seconds=60)

    async def made() -> Deferred:
        desk = ImagesDesk(models_of(args.model_copy(update={"max_n": 2}), [BrokenEngine()]))
        await desk.submit(job)
        while not (found := await desk.find("", job.id)) or not found.is_over:
            await asyncio.sleep(0.01)
        return found

    over = asyncio.run(made())
    assert over.error is not None
    assert (over.error_status, over.error.param) == (400, "n")


@pytest.mark.parametrize("room", [6, len(MADE.model_dump_json()) + 6])
def test_a_job_whose_answer_has_no_room_fails_and_says_so(room: int) -> None:
    """Of a picture of 7 bytes and the response: one by one they may have room, and together not."""

    async def made() -> Deferred:
        fixture = Fixture(nothing, max_bytes=room)
        await fixture.desk.submit(job())
        return await fixture.over(job())

    over = asyncio.run(made())
    assert (over.status, over.error_status) == ("failed", 400)
    assert over.error is not None
    assert over.error.code == "answer_too_large"
    assert "url_cache_mb" in over.error.message


def test_kept_files_are_bounded_in_time_and_space() -> None:
    now = [1000.0]

    async def keep() -> None:
        folder = Memory()
        shelf = Shelf(folder, max_bytes=10, seconds=60, clock=lambda: now[0])
        names = []
        for number in range(3):
            names.append(await shelf.add(bytes([number]) * 4, "png"))
            now[0] += 0.01
        assert len(set(names)) == 3
        assert [await shelf.get(name) for name in names] == [None, b"\1" * 4, b"\2" * 4]
        assert await shelf.get("../jobs/image_1.json") is None
        after = Shelf(folder, max_bytes=4, seconds=60, clock=lambda: now[0])
        await after.open()
        await after.drop()
        assert [await after.get(name) for name in names] == [None, None, b"\2" * 4]
        now[0] += 61
        assert [await after.get(name) for name in names] == [None] * 3

    asyncio.run(keep())


def test_a_desk_that_is_away_is_told_and_counts_nothing() -> None:
    class Away:
        def __getattr__(self, _: str) -> Any:
            def remote(*_: Any) -> Any:
                raise ActorDiedError

            return SimpleNamespace(remote=remote)

    async def ask() -> None:
        handle: Any = Away()
        with pytest.raises(ApiError, match="for a moment") as raised:
            await ServeDesk(handle).find(ME, "image_1")
        assert (raised.value.status_code, (raised.value.headers or {})["Retry-After"]) == (503, "1")
        jobs = CallerJobs(ServeArgs(), ServeDesk(handle), Keys(), Rates(requests=0, images=0), Metrics())
        assert await jobs.counts() == {}

    asyncio.run(ask())
