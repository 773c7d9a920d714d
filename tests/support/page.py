"""The endpoint's page, used as a person does."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

PROMPT = 'a "red" <b>'


def make(page: Page, **fields: Any) -> None:
    for label, value in {"Prompt": PROMPT, "Images": 3, "Seed": 7, **fields}.items():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_role("button", name="Make images").click()
    page.get_by_text("Done").wait_for()
