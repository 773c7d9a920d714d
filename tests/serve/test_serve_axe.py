"""axe-core finds nothing serious on the endpoint's page, in any of its states."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.axe import faults, faults_at_all_widths
from tests.support.page import make


def test_axe_finds_what_is_wrong(page: Page) -> None:
    page.evaluate("() => document.querySelector('main').append(new Image())")
    assert [fault.partition(":")[0] for fault in faults(page)] == ["image-alt"]


def test_nothing_is_wrong_with_images_and_settings(page: Page) -> None:
    page.get_by_text("More interventions").click()
    for switch in page.locator("input[data-intervention]").all():
        if switch.get_attribute("data-intervention") != "lora_interval":  # it needs a model with LoRAs
            switch.check()
    make(page)
    assert faults_at_all_widths(page) == []
    page.locator("#history img").first.click()
    assert faults(page) == []


def test_nothing_is_wrong_with_an_error(page: Page) -> None:
    said = 'event: error\ndata: {"type": "error", "error": {"message": "it went wrong"}}\n\n'
    page.context.route("**/generations", lambda route: route.fulfill(body=said, content_type="text/event-stream"))
    page.get_by_label("Prompt", exact=True).fill("a dot")
    page.get_by_role("button", name="Make images").click()
    page.get_by_role("alert").get_by_text("it went wrong").wait_for()
    assert faults(page) == []
