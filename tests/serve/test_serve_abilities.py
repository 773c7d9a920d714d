"""What the list of models says that each can do, against what the endpoint does; and what the page then offers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pipelines.serve.settings import ServeArgs
from tests.support import loras
from tests.support.page import make
from tests.support.served import TINY, Served, post, serving
from tests.support.toys import pipelines as toys


def _picture() -> str:
    """A grey square, as a data URL. As a mask it has all of itself made anew."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (160, 160, 160)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


PICTURE = _picture()
FIELDS: dict[str, Any] = {
    "mask": PICTURE,
    "denoising_strength": 0.5,
    "negative_prompt": "fog",
    "sigmas": [1.0, 0.5],
    "lora_interval": True,
    "guidance_interval": True,
}


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A distilled model that reads pictures."""
    model = toys.save("flux-kontext", tmp_path_factory.mktemp("kontext"))
    own = {"model": str(model), "scoring": "off", "name": "kontext", "sizes": "32x32,34x32"}
    with serving(ServeArgs.model_validate({"dtype": "float32", **TINY, "size": "32x32", **own})) as running:
        yield running


@pytest.fixture(scope="module")
def adapted(tiny_pipeline: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model with a LoRA."""
    folder = tmp_path_factory.mktemp("loras")
    path = loras.save(folder / "ink.safetensors", seed=0)
    config = Path(folder / "job.toml")
    config.write_text(
        'run = {output = "out"}\nprompts = {path = "p.txt"}\nscoring = {model = "ViT-B-32", pretrained = "openai"}\n'
        f'[model]\npath = "{tiny_pipeline}"\ndtype = "float32"\n'
        f'[[model.loras]]\nname = "ink"\npath = "{path}"\nscale = 0.5\n'
    )
    with serving(ServeArgs(config=str(config), scoring="off", name="tiny", **TINY)) as running:
        yield running


def card(served: Served) -> Any:
    return httpx2.get(f"{served.url}/v1/models").json()["data"][0]


def edit(served: Served, **body: Any) -> httpx2.Response:
    asked = {"prompt": "a red star", "image": PICTURE, **body}
    return httpx2.post(f"{served.url}/v1/images/edits", json=asked, timeout=60)


@pytest.mark.parametrize("name", ["served", "editor", "adapted"])
def test_the_fields_that_are_said_to_be_refused_are_and_no_others(name: str, request: pytest.FixtureRequest) -> None:
    served: Served = request.getfixturevalue(name)
    refused = card(served)["abilities"]["refused"]
    for field, value in FIELDS.items():
        answer = edit(served, **{field: value})
        if field not in refused:
            assert answer.status_code == 200, (field, answer.text)
        else:
            assert answer.status_code == 400, field
            assert refused[field] in answer.json()["error"]["message"]


def test_a_model_says_how_many_pictures_it_takes_and_of_what_sides_it_makes_them(
    served: Served, editor: Served
) -> None:
    assert card(served)["abilities"]["pictures"] == {"least": 0, "most": 1}
    assert card(editor)["abilities"]["pictures"] == {"least": 1, "most": 1}
    multiple = card(editor)["abilities"]["size_multiple"]
    assert f"needs a multiple of {multiple} here" in edit(editor, size="34x32").json()["error"]["message"]
    assert edit(editor, image=[PICTURE, PICTURE]).status_code == 400
    assert post(editor).status_code == 400


def test_a_model_lists_its_loras_with_their_scales(served: Served, adapted: Served) -> None:
    assert card(adapted)["loras"] == [{"name": "ink", "scale": 0.5}]
    assert card(served)["loras"] == []


def test_the_page_offers_what_the_model_can_do(page: Page, browser: Browser, adapted: Served) -> None:
    assert page.get_by_label("LoRA interval").count() == 1
    page.get_by_text("More interventions").click()
    expect(page.get_by_label("LoRA interval")).to_be_hidden()
    expect(page.get_by_label("Guidance interval")).to_be_visible()
    other = browser.new_page()
    other.goto(adapted.url)
    other.get_by_text("tiny").wait_for()
    other.get_by_text("More interventions").click()
    other.get_by_label("LoRA interval").check()
    make(other, Images=1)
    assert other.locator("#history h3").first.inner_text() == "TORA + repulsion + LoRA interval"
    other.close()


def test_the_page_says_where_a_model_is_asked_that_it_cannot_ask(browser: Browser, editor: Served) -> None:
    opened = browser.new_page()
    opened.goto(editor.url)
    expect(opened.get_by_role("alert")).to_have_text("kontext edits pictures, and is asked at v1/images/edits")
    expect(opened.get_by_role("button", name="Make images")).to_be_disabled()
    opened.close()
