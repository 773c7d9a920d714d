"""The gallery of a run of videos: still in its cards, played when they are asked to be, with a player in the dialog."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from PIL import Image

from pipelines.dataset import videos
from pipelines.flows.finish import finish
from pipelines.gallery.small import MOST_MOVING_BYTES, SIDE, Small, small
from tests.support.page import until
from tests.support.toy_run import FPS, FRAMES, Toy, write_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PLAYER = ".shot .moving"


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("videos")
    for kind in ("webp", "mp4"):
        finish(write_run(folder / kind, Toy(prompts=2, arms=("base",), videos=kind)))
    return {kind: (folder / kind / "gallery.html").as_uri() for kind in ("webp", "mp4")}


@pytest.fixture(params=["webp", "mp4"])
def page(request: Any, browser: Browser, galleries: dict[str, str]) -> Iterator[Page]:
    """Whatever the browser complains of fails the test; its media stand still unless they are played."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1200})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.set_default_timeout(60_000)
    opened.goto(galleries[request.param])
    yield opened
    opened.close()
    assert complaints == []


def test_cards_play_side_by_side_when_they_are_asked_to(page: Page) -> None:
    assert page.locator(PLAYER).count() == 0
    page.get_by_label("Play the videos").check()
    until(page, f"document.querySelectorAll('{PLAYER}').length >= 4")
    if page.locator(".shot video").count():
        until(page, "[...document.querySelectorAll('.shot video')].every((v) => v.currentTime > 0)")
        assert page.locator(".shot video").first.evaluate("v => [v.videoWidth, v.videoHeight, v.muted, v.loop]") == [
            64,
            64,
            True,
            True,
        ]
    page.get_by_label("Search prompts").fill("no such prompt")
    page.get_by_role("button", name="Show all").last.click()
    until(page, f"document.querySelectorAll('{PLAYER}').length === 0")
    assert not page.get_by_label("Play the videos").is_checked()


def test_the_dialog_plays_a_video_by_keyboard_and_stops_it(page: Page) -> None:
    page.locator(".shot").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    assert "base, video 1 of 4" in text
    assert f"frames\n{FRAMES}\nfps\n{FPS}" in text
    assert "temporal_consistency\n0.9" in text
    if page.locator("dialog video").count():
        player = page.locator("dialog video")
        until(page, "document.querySelector('dialog video').currentTime > 0")
        assert player.evaluate("v => [v.controls, v.muted, v.loop, v.playsInline]") == [True] * 4
        player.focus()
        page.keyboard.press("ArrowRight")
        assert "base, video 1 of 4" in dialog.inner_text()  # the player has the arrows
    else:
        assert (page.locator("#picture img").get_attribute("src") or "").startswith("data:image/webp")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('#picture > *') === null")


def test_who_wants_less_motion_starts_the_player(browser: Browser, galleries: dict[str, str]) -> None:
    opened = browser.new_page(reduced_motion="reduce")
    opened.goto(galleries["mp4"])
    opened.locator(".shot").first.click()
    until(opened, "document.querySelector('dialog video').readyState >= 2")
    assert opened.locator("dialog video").evaluate("v => v.paused")
    opened.close()


def moving_of(shown: Small) -> bytes:
    return base64.b64decode(shown.moving.partition(",")[2])


def frames_in(data: bytes, kind: str) -> int:
    if kind == "mp4":
        with av.open(io.BytesIO(data)) as opened:
            return opened.streams.video[0].frames
    return getattr(Image.open(io.BytesIO(data)), "n_frames", 1)


@pytest.mark.parametrize("kind", ["webp", "mp4"])
def test_a_video_on_the_page_is_small_and_takes_as_long_as_its_own(kind: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (66, 86, 130, 3), np.uint8)
    shown = small(videos.encode(noise, kind, 12), 66)
    moving = moving_of(shown)
    assert len(moving) <= MOST_MOVING_BYTES
    count = frames_in(moving, kind)
    assert count < 33  # every second frame was too many still
    assert count / videos.rate(moving, count) == pytest.approx(66 / 12, rel=0.1)


def test_large_videos_become_small_ones_of_even_sides() -> None:
    video = np.zeros((3, 480, 720, 3), np.uint8)
    video[:, :, ::2] = 200
    shown = small(videos.encode(video, "mp4", 8), 3)
    assert (shown.width, shown.height) == (SIDE, 171)
    assert videos.decode(moving_of(shown), 3, [2]).shape == (1, 170, SIDE, 3)


def test_a_run_of_pictures_has_nothing_to_play(tmp_path: Path) -> None:
    finish(write_run(tmp_path, Toy(prompts=1, arms=("base",))))
    text = (tmp_path / "gallery.html").read_text()
    assert 'id="play"' not in text
    assert "data-moving=" not in text
