"""The page at / in a real browser: it makes images, compares them, copies requests, and fits a phone."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from pipelines.config.load import load
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.plan.write import write_plan
from pipelines.serve.jobs import Done, Event, Job
from pipelines.serve.keys import Keys
from pipelines.serve.requests import job_of
from pipelines.serve.schema import ImageRequest, request_model
from pipelines.serve.serving import resolve
from tests.support.page import PROMPT, make
from tests.support.served import Served, serving

KEY = "the-key-of-this-test"


def shapes(page: Page) -> Any:
    return page.locator("#history img").evaluate_all("images => images.map(i => [i.naturalWidth, i.naturalHeight])")


def test_with_and_without_interventions_side_by_side(page: Page, tmp_path: Path) -> None:
    make(page)
    assert page.locator("#history h3").all_inner_texts() == ["TORA + repulsion", "Without interventions"]
    assert shapes(page) == [[16, 16]] * 6
    sources = page.locator("#history img").evaluate_all("images => images.map(image => image.src)")
    assert len(set(sources)) == 6
    assert page.locator("#history h2").inner_text() == PROMPT
    assert "Vendi" in page.locator(".numbers").first.inner_text()
    page.get_by_label("Prompt", exact=True).fill("a dot")
    page.get_by_label("Compare").uncheck()
    page.get_by_role("button", name="Make images").click()
    page.locator("#history > li").nth(1).wait_for()
    assert page.locator("#history h2").all_inner_texts() == ["a dot", PROMPT]
    page.get_by_role("button", name="Use these settings").nth(1).click()
    assert page.get_by_label("Prompt", exact=True).input_value() == PROMPT
    folder = Path(os.environ.get("PAGE_SHOTS", tmp_path))
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=folder / f"serve-{width}.png", full_page=True)


def copied(page: Page, name: str) -> str:
    page.get_by_role("button", name=name).first.click()
    page.get_by_text("Copied").last.wait_for()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_copies_the_request_as_curl(page: Page, served: Served) -> None:
    make(page, Prompt="it's a 'red' star")
    words = shlex.split(copied(page, "Copy as curl"))
    assert words[0] == "curl"
    assert words[1] == f"{served.url}/v1/images/generations"
    again = httpx2.post(words[1], content=words[words.index("-d") + 1], headers={"content-type": "application/json"})
    shown = page.locator("#history img").first.get_attribute("src") or ""
    assert shown.endswith(again.json()["data"][0]["b64_json"])


@pytest.mark.parametrize("counterfactual", ["", "a \\ {plain} star"])
def test_what_is_copied_for_a_batch_job_is_a_whole_run(
    page: Page, served: Served, tmp_path: Path, counterfactual: str
) -> None:
    page.get_by_text("Size, steps").click()
    page.get_by_label("Counterfactual").fill(counterfactual)
    make(page, Prompt=' a {red} "star" \\ ')
    (tmp_path / "copied.toml").write_text(copied(page, "Copy for a batch job"))
    job = load(tmp_path / "copied.toml")
    output = Storage.open(str(tmp_path / "out"))
    write_plan(job, output)
    shard = read_shard(output, 0)
    (planned,) = groups_of(shard)
    words = shlex.split(copied(page, "Copy as curl"))
    serving_here = resolve(served.args)
    body = request_model(served.args, serving_here, ImageRequest).model_validate(
        json.loads(words[words.index("-d") + 1])
    )
    asked = job_of(body, served.args, serving_here)[0]
    # A plan says which LoRAs act, the endpoint takes all of its model: here both have none.
    assert replace(planned, loras=None) == asked.group
    assert shard.column("counterfactual").to_pylist() == [asked.counterfactual]
    assert (job.model, job.scoring) == (serving_here.model, serving_here.scoring)


def test_by_keyboard(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("a dot")
    page.keyboard.press("Control+Enter")
    page.locator("#history img").first.wait_for()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea')].filter(e =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length"""
    )
    assert nameless == 0


def test_enlarges_an_image_by_keyboard(page: Page) -> None:
    make(page)
    page.get_by_role("button", name="Enlarge image 3").first.focus()
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog", name="Image")
    assert "TORA + repulsion, image 3 of 3; seed " in large.inner_text()
    page.keyboard.press("ArrowRight")
    assert "Without interventions, image 1 of 3; seed " in large.inner_text()
    with page.expect_download() as download:
        large.get_by_text("Save").click()
    assert download.value.suggested_filename.endswith(".png")
    page.keyboard.press("Escape")
    large.wait_for(state="hidden")


def test_asks_for_one_group_at_a_time(page: Page, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time, a slow model would refuse the second because the first takes so long."""
    real, running, most = served.worker.generate, 0, 0

    async def counted(job: Job) -> AsyncGenerator[Event, None]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        async with aclosing(real(job)) as events:
            async for event in events:
                running -= isinstance(event, Done)
                yield event

    monkeypatch.setattr(served.worker, "generate", counted)
    make(page)
    assert page.locator("#history h3").all_inner_texts() == ["TORA + repulsion", "Without interventions"]
    assert (most, running) == (1, 0)


@pytest.mark.soak
def test_stop(page: Page) -> None:
    page.get_by_text("Size, steps").click()
    page.get_by_label("Prompt", exact=True).fill("a dot")
    page.get_by_label("Steps", exact=True).fill("1000")
    page.get_by_role("button", name="Make images").click()
    page.get_by_text("Denoising").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped").wait_for()
    assert page.locator("#history > li").count() == 0
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Make images").click()
    page.get_by_text("Done").wait_for()


def test_asks_for_a_key_and_shows_refusals(browser: Browser, served: Served) -> None:
    with serving(served.args, Keys(frozenset({KEY}))) as guarded:
        page = browser.new_page()
        page.goto(guarded.url)
        page.get_by_text("This server wants an API key.").wait_for()
        page.get_by_label("API key").fill(KEY)
        page.get_by_label("API key").press("Tab")
        page.get_by_text("tiny").wait_for()
        page.get_by_label("Prompt", exact=True).fill("x" * 60)
        page.get_by_role("button", name="Make images").click()
        page.get_by_text("tokens longer than the model reads").wait_for()
        page.get_by_label("Prompt", exact=True).fill("a dot")
        page.get_by_role("button", name="Make images").click()
        page.locator("#history img").first.wait_for()
        page.close()
