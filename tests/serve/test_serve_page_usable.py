"""The page at / for everybody: names and contrast of its parts, errors that are seen, images that are still there."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route

from tests.support.page import make
from tests.support.served import Served

IMAGES = "**/v1/images/generations"


@pytest.fixture
def bare(page: Page) -> Page:
    """The page on a server that does not tell its models, until the test lets it."""
    page.context.route("**/v1/models", lambda route: route.abort())
    fresh = page.context.new_page()
    fresh.goto(page.url)
    return fresh


def in_view(found: Locator) -> bool:
    seen: bool = found.evaluate(
        """e => {
            const at = e.getBoundingClientRect();
            return at.height > 0 && at.top >= 0 && at.bottom <= innerHeight;
        }"""
    )
    return seen


def test_sliders_have_names_and_say_their_values(page: Page) -> None:
    page.get_by_text("More interventions").click()
    for switch in page.locator("fieldset:not([hidden]) input[data-intervention]").all():
        switch.check()
    shown = page.locator("fieldset:not([hidden]) input[type=range]").count()
    assert page.locator("input[type=range]").count() > shown == page.get_by_role("slider").count() > 3
    for slider in page.get_by_role("slider").all():
        own = slider.get_attribute("id") or ""
        group = (
            page.get_by_role("group").filter(has=page.locator(f"[data-intervention='{own.partition('.')[0]}']")).last
        )
        name, value = (page.locator(f"{tag}[for='{own}']").inner_text() for tag in ("label", "output"))
        assert slider.get_attribute("aria-valuetext") == value == str(page.evaluate("id => settings[id]", own))
        assert group.get_by_role("slider", name=name, exact=True).get_attribute("id") == own
    strength = page.get_by_role("slider", name="strength").first
    strength.press("End")
    assert strength.get_attribute("aria-valuetext") == str(10 ** float(strength.input_value())).removesuffix(".0")


def test_groups_of_fields_have_legends(page: Page) -> None:
    page.get_by_text("More interventions").click()
    fieldsets = page.locator("fieldset").count()
    assert page.locator("fieldset > legend:first-child").count() == fieldsets > 1
    assert "TORA" in page.get_by_role("group", name="TORA").inner_text()


CONTRASTS = """() => {
    const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = colour => {
        brush.clearRect(0, 0, 1, 1);
        brush.fillStyle = colour;
        brush.fillRect(0, 0, 1, 1);
        return [...brush.getImageData(0, 0, 1, 1).data];
    };
    const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = colour => {
        const [red, green, blue] = rgba(colour).map(value => linear(value / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ratio = (...colours) => {
        const [low, high] = colours.map(luminance).sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const behind = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return rgba(colour)[3] === 255 ? colour : behind(element.parentElement);
    };
    const used = "textarea, select, input:not([type=range], [type=checkbox]), form button:not([type=submit])";
    return [...document.querySelectorAll(used)].flatMap(one => {
        const edge = getComputedStyle(one).borderTopColor, placeholder = getComputedStyle(one, "::placeholder").color;
        const sides = [behind(one), behind(one.parentElement)];
        const found = sides.map(side => [`edge of ${one.id}`, ratio(edge, side), 3]);
        return one.placeholder ? [...found, [`placeholder of ${one.id}`, ratio(placeholder, sides[0]), 4.5]] : found;
    });
}"""
"""What is looked at, its contrast, and the least that WCAG 2.2 asks for."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_edges_and_placeholders_can_be_seen(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 10
    assert [(what, ratio) for what, ratio, least in found if ratio < least] == []


def test_make_images_asks_for_the_model_again(bare: Page) -> None:
    bare.get_by_role("alert").get_by_text("cannot be reached").wait_for()
    bare.get_by_label("Prompt", exact=True).fill("a dot")
    bare.get_by_label("Images", exact=True).fill("2")
    bare.get_by_label("Seed", exact=True).fill("5")
    bare.context.unroute("**/v1/models")
    bare.get_by_role("button", name="Make images").click()
    bare.get_by_text("Done").wait_for()
    assert bare.locator("#history img").count() == 4
    assert bare.locator("#history .soft").inner_text().startswith("seed 5, 16x16, 2 steps")


def test_make_images_says_when_the_server_does_not_answer(bare: Page) -> None:
    bare.set_viewport_size({"width": 390, "height": 500})
    bare.get_by_label("Prompt", exact=True).fill("a dot")
    bare.get_by_role("button", name="Make images").click()
    error = bare.get_by_role("alert")
    error.get_by_text("cannot be reached").wait_for()
    assert in_view(error)


def test_a_wrong_field_that_is_folded_is_shown_and_named(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).fill("a dot")
    page.get_by_text("Size, steps").click()
    page.get_by_label("Steps", exact=True).fill("5000")
    page.get_by_text("Size, steps").click()
    page.get_by_role("button", name="Make images").click()
    page.get_by_role("alert").get_by_text("Steps: ").wait_for()
    assert "1000" in page.get_by_role("alert").inner_text()
    assert in_view(page.get_by_label("Steps", exact=True))
    assert page.evaluate("document.activeElement.id") == "steps"


@pytest.mark.parametrize(("width", "height"), [(1280, 600), (390, 600), (320, 480)])
def test_errors_are_where_one_looks(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    broken = 'data: {"type": "error", "error": {"message": "it is broken"}}\n\n'
    page.route(IMAGES, lambda route: route.fulfill(content_type="text/event-stream", body=broken))
    page.get_by_label("Prompt", exact=True).fill("a dot")
    page.keyboard.press("Control+Enter")
    error = page.get_by_role("alert")
    error.get_by_text("it is broken").wait_for()
    assert in_view(error)
    page.unroute(IMAGES)


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_four_images_lie_two_by_two(page: Page, width: int) -> None:
    make(page, Images=4)
    page.set_viewport_size({"width": width, "height": 900})
    for shots in page.locator(".shots").all():
        boxes = [figure.bounding_box() for figure in shots.locator("figure").all()]
        places = [(box["x"], box["y"]) for box in boxes if box]
        assert [len({one[axis] for one in places}) for axis in (0, 1)] == [2, 2]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_images_are_still_there_after_a_reload(page: Page) -> None:
    make(page)
    before = page.locator("#history").inner_html()
    page.reload()
    page.get_by_text("tiny").first.wait_for()
    assert page.locator("#history").inner_html() == before
    page.get_by_role("button", name="Copy for a batch job").first.click()
    page.get_by_text("Copied").wait_for()
    page.get_by_role("button", name="Forget").click()
    page.reload()
    page.get_by_text("The images appear here").wait_for()
    assert page.locator("#history > li").count() == 0


def test_what_is_remembered_is_bounded_and_large_images_are_small_copies(page: Page) -> None:
    """Cards with 1024 x 1024 pixels of noise, of which no browser keeps many."""
    kept = page.evaluate(
        """async () => {
            const canvas = element("canvas", { width: 1024, height: 1024 }), brush = canvas.getContext("2d");
            const noise = brush.createImageData(1024, 1024), { data } = noise, most = 65536;
            for (let at = 0; at < data.length; at += most) crypto.getRandomValues(data.subarray(at, at + most));
            brush.putImageData(noise, 0, 0);
            const file = canvas.toDataURL("image/png");
            const image = {
                b64_json: file.split(",")[1], output_format: "png", image_id: "00", seed_text: "1",
                clip_score: null, clip_margin: null,
            };
            const group = { clip_model: null, queue_seconds: 0, generate_seconds: 1 };
            for (let seed = 0; seed < 25; seed++)
                await remember([{ request: { prompt: "noise", size: "1024x1024", seed }, group, images: [image] }]);
            const seeds = remembered().map(([{ request }]) => request.seed);
            return [file.length, localStorage.getItem(REMEMBERED).length, seeds];
        }"""
    )
    file, characters, seeds = kept
    assert file > 2_000_000 > characters
    assert seeds == list(range(24, 24 - len(seeds), -1))
    assert 5 < len(seeds) <= 20
    page.reload()
    page.get_by_role("button", name="Enlarge").first.click()
    assert "a small copy" in page.get_by_role("dialog").inner_text()
    assert not page.get_by_text("Save").is_visible()


def test_what_another_version_remembered_is_dropped(page: Page) -> None:
    page.evaluate("localStorage.setItem(REMEMBERED, '[[{}]]')")
    page.reload()
    page.get_by_text("tiny").wait_for()
    make(page)


def test_shows_how_long_it_took(page: Page) -> None:
    make(page)
    words = page.locator(".numbers").first.inner_text()
    assert "made in" in words
    assert "waited" in words


def test_comments_in_the_stream_are_no_events(page: Page) -> None:
    def with_comments(route: Route) -> None:
        answer = route.fetch()
        body = answer.text().replace("\n\n", "\n\n: still here\n\n").replace("\n", "\r\n")
        route.fulfill(response=answer, body=": hello\n\n" + body)

    page.route(IMAGES, with_comments)
    make(page)
    assert page.locator("#history img").count() == 6
    page.unroute(IMAGES)


def test_seeds_are_shown_to_the_last_digit(page: Page, served: Served) -> None:
    make(page, Images=1)
    page.get_by_role("button", name="Enlarge").first.click()
    about = page.get_by_role("dialog").inner_text()
    seed = about.split("seed ")[1].split(";")[0].split("\n")[0]
    asked = {"prompt": "a dot", "seeds": [seed]}
    again = page.evaluate(
        "async asked => (await (await fetch('v1/images/generations', { method: 'POST', headers: headers(), "
        "body: JSON.stringify(asked) })).json())",
        asked,
    )
    assert again["group"]["seed_texts"] == [again["data"][0]["seed_text"]] == [seed]
    shown = page.locator("#history img").last.get_attribute("src") or ""
    assert int(seed) > 2**53
    assert len(shown) > 100
