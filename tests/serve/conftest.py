"""What the tests of the endpoint share: one of the tiny model, and its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from pipelines.serve.settings import ServeArgs
from tests.support.served import Served, serving, tiny_args


@pytest.fixture(scope="module")
def args(tiny_pipeline: str, tiny_clip: str) -> ServeArgs:
    return tiny_args(tiny_pipeline, tiny_clip)


@pytest.fixture(scope="module")
def served(args: ServeArgs) -> Iterator[Served]:
    with serving(args) as running:
        yield running


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """The page at 1280 px; whatever the browser complains of or asks another server for fails the test."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith((served.url, "data:")) else complaints.append(r.url))
    opened.set_default_timeout(60_000)
    opened.goto(served.url)
    opened.get_by_text("tiny").wait_for()
    yield opened
    context.close()
    assert complaints == []
