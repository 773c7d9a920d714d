"""Pages, used as a person does."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page

PROMPT = 'a "red" <b>'


def make(page: Page, **fields: Any) -> None:
    for label, value in {"Prompt": PROMPT, "Images": 3, "Seed": 7, **fields}.items():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_role("button", name="Make images").click()
    page.get_by_text("Done").wait_for()


def until(page: Page, expression: str, seconds: float = 60.0) -> None:
    """Wait for a JavaScript expression to hold.

    `Page.wait_for_function` looks once as the debugger, and from then on as the page itself, to which our pages'
    security policy forbids `eval`: it fails where it should wait.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"not within {seconds:g} s: {expression}"
        page.wait_for_timeout(20)
