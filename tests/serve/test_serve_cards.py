"""Models are asked side by side what they can do; one that does not answer has not said it, and the page asks again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from ray import serve

from models.info import ModelInfo
from pipelines.serve import engine as engines
from pipelines.serve.cards import Cards
from pipelines.serve.engine import ServeEngine
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import Models, Served, offered
from tests.support.served import TINY, BrokenEngine, listening

INFO = ModelInfo(
    model="m", revision="", family="sd3", dtype="float32", scheduler="x", device="cpu", frames_per_second=0
)


@dataclass(frozen=True)
class Told(BrokenEngine):
    """An engine that says what it is as `says` does."""

    says: Callable[[], Awaitable[ModelInfo | None]] = field(kw_only=True)

    async def info(self) -> ModelInfo | None:
        return await self.says()


def test_models_are_asked_side_by_side(tiny_pipeline: str) -> None:
    """Each of them answers once the other is asked as well."""
    (one,) = offered(ServeArgs(model=tiny_pipeline, dtype="float32", scoring="off", **TINY))

    async def listed() -> list[str]:
        both = asyncio.Barrier(2)

        async def says() -> ModelInfo | None:
            return INFO if await both.wait() else None

        served = Served(args=one.args, serving=one.serving, engine=Told(says=says))
        async with asyncio.timeout(30):
            cards = await Cards(Models([served, served])).all()
        return sorted(card.abilities.family if card.abilities else "" for card in cards)

    assert asyncio.run(listed()) == ["", "sd3"]


async def _late() -> ModelInfo:
    await asyncio.sleep(60)
    return INFO


async def _soon() -> ModelInfo:
    return INFO


def _running() -> Any:
    return {"RUNNING": 1}


def _stuck() -> Any:
    time.sleep(1)  # longer than is waited for
    return {}


def _gone() -> Any:
    raise KeyError("the app is being removed")


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (lambda: {"RUNNING": 1}, _soon, INFO),
        (lambda: {"RUNNING": 1}, _late, None),
        (_stuck, _soon, None),
        (_gone, _soon, None),
    ],
)
def test_what_does_not_answer_has_not_said_what_it_is(
    status: Callable[[], Any], answer: Callable[[], Any], told: ModelInfo | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_ray() -> Any:
        deployments = {"Worker": SimpleNamespace(replica_states=status())}
        return SimpleNamespace(applications={"here": SimpleNamespace(deployments=deployments)})

    monkeypatch.setattr(engines, "_INFO_SECONDS", 0.2)
    monkeypatch.setattr(serve, "status", of_ray)
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(app_name="here"))
    handle: Any = SimpleNamespace(deployment_name="Worker")
    handle.options = lambda **_: SimpleNamespace(info=SimpleNamespace(remote=answer))
    assert asyncio.run(ServeEngine(handle).info()) == told


def test_the_page_asks_again_a_model_that_has_not_said_what_it_can(browser: Browser, tiny_pipeline: str) -> None:
    told: list[ModelInfo] = []

    async def says() -> ModelInfo | None:
        return told[0] if told else None

    args = ServeArgs(model=tiny_pipeline, dtype="float32", scoring="off", name="tiny", **TINY)
    with listening(args, Told(says=says), Keys()) as url:
        page = browser.new_page()
        page.clock.install()
        page.goto(url)
        page.get_by_text("tiny").wait_for()
        page.get_by_text("More interventions").click()
        expect(page.get_by_label("LoRA interval")).to_be_visible()
        page.locator('[id="tora.sigma"]').fill("5")
        with page.expect_response("**/v1/models"):
            page.clock.fast_forward(5_000)
        told.append(INFO)
        expect(page.get_by_label("LoRA interval")).to_be_visible()
        with page.expect_response("**/v1/models"):
            page.clock.fast_forward(10_000)
        expect(page.get_by_label("LoRA interval")).to_be_hidden()
        assert page.locator('[id="tora.sigma"]').input_value() == "5"
        page.close()
