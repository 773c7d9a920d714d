"""The parts of the endpoint that need no model: keys, scaling, refusals, settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve
from ray.exceptions import ActorDiedError, OwnerDiedError, RayTaskError, WorkerCrashedError
from ray.serve._private.common import DeploymentStatus, ReplicaState
from ray.serve.exceptions import BackPressureError, RequestCancelledError
from ray.serve.schema import ServeInstanceDetails

from models.info import ModelInfo
from models.parallel.division import Division, division
from models.spec import Group, Sampling
from pipelines.errors import UserError
from pipelines.serve import callers, keys
from pipelines.serve.app import _scale, app
from pipelines.serve.engine import ServeEngine
from pipelines.serve.errors import ApiError
from pipelines.serve.jobs import Done, Event, Job, Lost, Overloaded, Started
from pipelines.serve.keys import Keys
from pipelines.serve.limits import Pace, events_in_time
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs

INFO = ModelInfo(
    model="m", revision="", family="sd3", dtype="float32", scheduler="s", device="cpu", frames_per_second=0
)


class Ready:
    """What the engines of this file have in common."""

    async def ready(self) -> bool:
        return True

    async def info(self) -> ModelInfo | None:
        return INFO


def test_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst-key-of-the-file  # for Ann\n\nsecond-key-of-the-file\n")
    known = keys.read(str(file), {"RAYDIANCE_API_KEYS": "key-from-environment"})
    for key in ("first-key-of-the-file", "second-key-of-the-file", "key-from-environment"):
        assert known.admit(f"Bearer {key}")
        assert known.admit(f"bearer  {key} ")
        assert not known.admit(f"Basic {key}")
    for header in (None, "", "Bearer", "Bearer ", "Bearer first-key-of-the-fil", "Bearer \udcff"):
        assert not known.admit(header)
    assert "key-from" not in repr(vars(known))
    assert Keys().admit(None)
    for text in ("short\n", "\n"):
        file.write_text(text)
        with pytest.raises(UserError, match="key"):
            keys.read(str(file), {})
    with pytest.raises(UserError, match="cannot be read"):
        keys.read(str(tmp_path / "none"), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_other_addresses_need_keys(host: str) -> None:
    with pytest.raises(UserError, match="without API keys"):
        keys.require_for(host, Keys(), allow_anonymous=False)
    keys.require_for(host, Keys(), allow_anonymous=True)
    keys.require_for(host, Keys(frozenset({"long-enough-for-a-key"})), allow_anonymous=False)
    for loopback in ("127.0.0.1", "127.8.0.1", "::1", "localhost", None):
        keys.require_for(loopback, Keys(), allow_anonymous=False)


def test_scaling() -> None:
    assert _scale(ServeArgs(replicas=3)) == {"num_replicas": 3}
    scale = _scale(ServeArgs(min_replicas=0, max_replicas=4, groups_per_batch=2, idle_s=60))["autoscaling_config"]
    assert (scale.min_replicas, scale.initial_replicas, scale.max_replicas) == (0, 1, 4)
    assert (scale.target_ongoing_requests, scale.downscale_delay_s) == (2, 60)
    asleep = _scale(ServeArgs(min_replicas=0))["autoscaling_config"]
    assert (asleep.min_replicas, asleep.max_replicas) == (0, 1)


def test_a_process_that_is_replaced_has_time_for_the_longest_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, float] = {}
    real = serve.deployment

    def noted(cls: Any, **options: Any) -> Any:
        if options["name"] != "Desk":
            asked[options["name"]] = options["graceful_shutdown_timeout_s"]
        return real(cls, **options)

    monkeypatch.setattr(serve, "deployment", noted)
    args = ServeArgs(timeout_s=900, body_timeout_s=20)
    app(args)
    assert set(asked) == {"Worker", "Web"}  # the desk's jobs go on in the process that follows
    assert all(seconds > args.timeout_s + args.body_timeout_s for seconds in asked.values())


def test_a_refusal_says_how_long_a_group_takes() -> None:
    """Also where the caller stops reading at the images."""
    taken = [0.0]

    class Slow(Ready):
        async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
            yield Started()
            await asyncio.sleep(0.05)
            yield Done(
                images=(),
                image_ids=(),
                info=INFO,
                tokens_cut={},
                negative_tokens_cut={},
                scores=None,
                frames=1,
                fps=0,
                groups_in_batch=1,
                generate_s=0.05,
            )

    class Noting(Pace):
        def add(self, seconds: float) -> None:
            taken.append(seconds)

    async def until_done() -> None:
        job = Job(group=Group(prompt="a dot", seeds=(1,), sampling=Sampling()))
        async with aclosing(events_in_time(Slow(), job, queue_s=60, total_s=60, pace=Noting())) as events:
            async for event in events:
                if isinstance(event, Done):
                    return

    asyncio.run(until_done())
    assert taken[-1] >= 0.05


def test_a_refusal_says_how_long_the_queue_is() -> None:
    """Four groups take two seconds, twelve others wait: the next one begins after four turns."""
    pace = Pace()
    pace.add(2.0)

    class Crowded(Ready):
        async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
            if pace.waiting > 12:
                raise Overloaded
            if pace.running < 4:
                yield Started()
            await asyncio.sleep(60)

    job = Job(group=Group(prompt="a dot", seeds=(1,), sampling=Sampling()))

    async def ask() -> None:
        async with aclosing(events_in_time(Crowded(), job, queue_s=60, total_s=60, pace=pace)) as events:
            async for _ in events:
                pass

    async def refused() -> str:
        asked = [asyncio.create_task(ask()) for _ in range(16)]
        await asyncio.sleep(0.05)
        assert (pace.running, pace.waiting) == (4, 12)
        with pytest.raises(ApiError) as raised:
            await ask()
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return str((raised.value.headers or {})["Retry-After"])

    assert asyncio.run(refused()) == "8"
    assert (pace.running, pace.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
        (ActorDiedError(), Lost),
        (OwnerDiedError("00", None, "x"), Lost),
        (WorkerCrashedError(), Lost),
        (RequestCancelledError("x"), Lost),
        (RayTaskError("f", "traceback", ValueError("ours")), RayTaskError),  # type: ignore[no-untyped-call]
    ],
)
def test_what_ray_raises_is_told_apart(
    raised: Exception, seen: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    class Response:
        def __aiter__(self) -> Response:
            return self

        async def __anext__(self) -> Event:
            raise raised

        def cancel(self) -> None:
            closed.append(True)
            raise raised  # as Serve's does, where the request never got to a copy

    handle: Any = SimpleNamespace(deployment_name="Worker")
    handle.options = lambda **_: SimpleNamespace(generate=SimpleNamespace(remote=lambda _: Response()))
    engine = ServeEngine(handle)
    monkeypatch.setattr(callers, "here", lambda: "web")

    async def ask() -> None:
        async with aclosing(engine.generate(Job(group=Group(prompt="a", seeds=(1,), sampling=Sampling())))) as events:
            async for _ in events:
                pass

    with pytest.raises(seen):
        asyncio.run(ask())
    assert closed == [True]


@pytest.mark.parametrize(
    ("states", "status", "ready"),
    [
        ({"RUNNING": 1, "STARTING": 1}, DeploymentStatus.UPDATING, True),
        ({"STARTING": 1}, DeploymentStatus.UPDATING, False),
        ({}, DeploymentStatus.HEALTHY, True),  # asleep
        ({}, DeploymentStatus.UNHEALTHY, False),
        (None, DeploymentStatus.HEALTHY, False),
    ],
)
def test_ready(
    states: dict[str, int] | None, status: DeploymentStatus, ready: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for name, count in (states or {}).items() for _ in range(count)]
    replicas = [SimpleNamespace(state=ReplicaState(name)) for name in names]
    deployment = SimpleNamespace(status=status, status_trigger=None, replicas=replicas, message="")
    application = SimpleNamespace(
        status=None, message="", last_deployed_time_s=0, deployments={} if states is None else {"Worker": deployment}
    )
    details: Any = SimpleNamespace(target_capacity=None, proxies={}, applications={"here": application})
    monkeypatch.setattr(serve, "status", lambda: ServeInstanceDetails._get_status(details))
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(app_name="here"))
    handle: Any = SimpleNamespace(deployment_name="Worker", options=lambda **_: None)
    assert asyncio.run(ServeEngine(handle).ready()) is ready


def test_arguments_that_contradict_each_other() -> None:
    for wrong in (
        {"max_replicas": 1, "replicas": 2},
        {"min_replicas": 2, "replicas": 1, "max_replicas": 3},
        {"min_replicas": 0, "replicas": 3, "max_replicas": 2},
        {"config": "a.toml", "model": "b/c"},
        {"gpus_per_replica": 1.5},
        {"images_per_minute": 3},
        {"mark": False, "c2pa_certificate": "chain.pem", "c2pa_key": "key.pem"},
        {"c2pa_key": "key.pem"},
        {"size": "0x8"},
        {"x": 1},
    ):
        with pytest.raises(ValueError, match="validation error"):
            ServeArgs.model_validate(wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scoring": "ViT-B-23/openai"}, "scoring.model = 'ViT-B-23': open_clip has no such model; did you mean"),
        ({"scoring": "ViT-B-32/opneai"}, "scoring.pretrained = 'opneai': .* did you mean 'openai'"),
        ({"scoring": "ViT-B-32"}, "scoring.pretrained = '' leaves 'ViT-B-32' with random weights"),
        ({"scoring": "local-dir:gone"}, "there is no folder 'gone'"),
        ({"model": "/gone/folder"}, "model = '/gone/folder': there is no such folder"),
        ({"model": "jobs"}, "model = 'jobs' has no readable model_index.json"),
    ],
)
def test_a_model_and_a_scorer_that_are_not_there_are_named_before_anything_loads(
    wrong: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        resolve(ServeArgs.model_validate(wrong))
    resolve(ServeArgs(scoring="ViT-B-32/openai"))


def test_a_batch_is_divided_by_images_and_not_by_groups(tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text("""
        run = {output = "out"}
        prompts = {path = "p.txt"}
        model = {path = "owner/model"}
        scoring = {model = "ViT-B-32", pretrained = "openai"}
        group = {size = 4}
    """)
    shared = {"groups_per_batch": 3, "gpus_per_replica": 2, "guidance_scale": 4.0}
    args = ServeArgs.model_validate({"config": str(toml), **shared})
    ranks = resolve(args).ranks(args)
    assert (ranks.count, ranks.images, ranks.guided) == (2, 12, True)
    divided = division(ranks.parallelism, ranks.count, images=ranks.images, guided=ranks.guided)
    assert divided == Division(group=2)  # 3 groups would not divide, 12 images do
    plain = ServeArgs.model_validate(shared)
    assert resolve(plain).ranks(plain).images == 3  # a request has one image by default
