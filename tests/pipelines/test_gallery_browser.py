"""gallery.html in a real browser: it runs under its own policy, filters, opens images, and fits a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from models.interventions.tora.config import ToraConfig
from pipelines.flows.finish import finish
from tests.support.toy_run import Toy, write_run

DIFFICULT = ("<script>document.title='x'</script>", "</script><img src=x onerror=\"document.title='x'\">", "W" * 2000)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> str:
    """8 prompts, 4 arms of 4 images; every 5th group failed; the first three prompts are difficult text."""
    folder = tmp_path_factory.mktemp("run")
    toy = Toy(prompts=8, fail_every=5, text=lambda i, prompt: DIFFICULT[i] if i < len(DIFFICULT) else prompt)
    finish(write_run(folder, toy))
    return (folder / "gallery.html").as_uri()


@pytest.fixture
def page(browser: Browser, gallery: str) -> Iterator[Page]:
    """The gallery at 1280 px; whatever the browser complains of or asks the network for fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: _note_request(request.url, complaints))
    opened.set_default_timeout(60_000)
    opened.goto(gallery)
    yield opened
    opened.close()
    assert complaints == []


def _note_request(url: str, complaints: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        complaints.append(url)


def shown_prompts(page: Page) -> list[str]:
    return page.locator(".card:visible h2").all_inner_texts()


def test_user_text_does_not_run(page: Page) -> None:
    assert page.title() == "Toy run"
    assert page.locator("#count").inner_text() == "8 prompts"
    assert len(shown_prompts(page)) == 8


@pytest.mark.parametrize("width", [360, 640, 768, 1024, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".shot:visible").first.click()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")


def test_search(page: Page) -> None:
    page.get_by_label("Search prompts").fill("SCRIPT title")
    assert shown_prompts(page) == [p for p in shown_prompts(page) if "script" in p]
    assert page.locator("#count").inner_text() == "2 of 8 prompts"
    page.get_by_label("Search prompts").fill("no such prompt")
    assert page.locator("#none").is_visible()
    page.get_by_role("button", name="Show all").last.click()
    assert page.locator("#count").inner_text() == "8 prompts"


def test_rarity(page: Page) -> None:
    options = page.locator("#rarity option").all_inner_texts()
    assert options == ["All rarities", "common", "uncommon", "rare", "unseen"]
    page.get_by_label("Rarity").select_option("rare")
    assert len(shown_prompts(page)) == 2
    assert set(page.locator(".card:visible .badge").all_inner_texts()) == {"rare"}


def test_arms(page: Page) -> None:
    page.get_by_role("checkbox", name="base").uncheck()
    assert "base" not in page.locator(".group:visible h3").all_inner_texts()
    page.get_by_role("checkbox", name="base").check()
    assert page.locator(".group:visible h3").all_inner_texts().count("base") == 8


def test_only_dropped(page: Page) -> None:
    page.get_by_label("Only with dropped images").check()
    assert len(shown_prompts(page)) == 8
    for arm in ("base", "tora", "repulsion"):
        page.get_by_role("checkbox", name=arm).uncheck()
    with_images = page.locator(".group[data-arm='3'][data-score]").count()
    assert len(shown_prompts(page)) == with_images < 8


@pytest.mark.parametrize(("order", "measure", "sign"), [("vendi-down", "vendi", -1), ("score-up", "score", 1)])
def test_order(page: Page, order: str, measure: str, sign: int) -> None:
    page.get_by_label("Order").select_option(order)
    groups: Any = page.evaluate(
        """measure => [...document.querySelectorAll('.card')].map(card =>
            [...card.querySelectorAll(`[data-${measure}]`)].map(group => +group.dataset[measure]))""",
        measure,
    )
    means = [sign * sum(values) / len(values) for values in groups]
    assert means == sorted(means)
    page.get_by_label("Order").select_option("mixed")
    assert page.locator(".card").evaluate_all("cards => cards.map(c => +c.dataset.order)") == list(range(8))


def test_the_dialog_by_keyboard(page: Page) -> None:
    card = page.locator(".card").last
    first, second = card.locator(".shot").nth(0), card.locator(".shot").nth(1)
    first.focus()
    page.keyboard.press("ArrowRight")
    assert second.evaluate("shot => shot === document.activeElement")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert dialog.get_by_role("heading", level=2).inner_text() == card.locator("h2").inner_text()
    assert str(2**62 + 1) in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert str(2**62 + 2) in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert card.locator(".shot").nth(2).evaluate("shot => shot === document.activeElement")


def test_the_dialog_shows_settings_of_its_arm(page: Page) -> None:
    page.locator(".group[data-arm='1'] .shot:visible").first.click()
    text = page.get_by_role("dialog").inner_text()
    assert f"sigma\n{ToraConfig().sigma:g}" in text
    assert "inner_steps" not in text
    page.get_by_role("button", name="Close").click()
    page.locator(".group[data-arm='3'] .shot:visible").first.click()
    assert "inner_steps\n100" in page.get_by_role("dialog").inner_text()


def test_tab_goes_from_prompt_to_prompt(page: Page) -> None:
    stops = page.locator(".shot").evaluate_all("shots => shots.filter(s => s.tabIndex === 0).length")
    assert stops == 8


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select')].filter(e =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim())).length"""
    )
    assert nameless == 0


def test_light_and_dark(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    assert dark == page.evaluate(background) != light


def test_without_script_the_images_are_still_there(browser: Browser, gallery: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(gallery)
    assert opened.locator(".card:visible").count() == 8
    assert opened.locator(".tools").is_hidden()
    context.close()


def test_a_screenshot_can_be_kept(page: Page, tmp_path: Path) -> None:
    """Set GALLERY_SHOTS to a folder to look at the page as the tests see it."""
    folder = Path(os.environ.get("GALLERY_SHOTS", tmp_path))
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=folder / f"gallery-{width}.png")
        assert (folder / f"gallery-{width}.png").stat().st_size > 20_000


def test_the_dialog_goes_round(page: Page) -> None:
    page.locator(".shot").last.click()
    title = page.get_by_role("dialog").get_by_role("heading", level=2)
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == page.locator(".card h2").first.inner_text()
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == page.locator(".card h2").last.inner_text()
