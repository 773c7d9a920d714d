"""Several models behind one endpoint, through the official client: one of images with a LoRA, and one of videos."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from playwright.sync_api import Browser, expect

from pipelines.errors import UserError
from pipelines.serve.arguments import arguments
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import offered
from tests.support import loras
from tests.support.served import TINY, BrokenEngine, Served, listening, post, serving
from tests.support.toys import pipelines as toys

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
RUN = 'prompts = {path = "p.txt"}\nscoring = {model = "ViT-B-32", pretrained = "openai"}\n'


def config(file: Path, model: object, more: str = "", run: str = "") -> Path:
    file.write_text(f'run = {{output = "out"{run}}}\n{RUN}[model]\npath = "{model}"\ndtype = "float32"\n{more}')
    return file


def with_lora(folder: Path, model: str, name: str = "ink") -> Path:
    path = loras.save(folder / "ink.safetensors", seed=0)
    return config(folder / "images.toml", model, f'[[model.loras]]\nname = "{name}"\npath = "{path}"\n')


@pytest.fixture(scope="module")
def served(tiny_pipeline: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("several")
    videos = config(folder / "videos.toml", toys.save("cogvideox", folder))
    further = f"{videos} name=moving scoring=off size=16x16 steps=3 max_steps=20 max_seconds=4"
    args = ServeArgs.model_validate(
        {"config": str(with_lora(folder, tiny_pipeline)), "configs": further, "scoring": "off", "name": "still", **TINY}
    )
    with serving(args) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)


def job(served: Served, model: str | None) -> Any:
    """The answer to a request for images as a job."""
    body, headers = {"prompt": "a dot", "model": model}, {"Prefer": "respond-async"}
    return httpx2.post(f"{served.url}/v1/images/generations", json=body, headers=headers).json()


def test_the_list_has_all_models_with_limits_and_defaults_of_their_own(client: OpenAI) -> None:
    cards: dict[str, Any] = {card.id: card for card in client.models.list()}
    assert {name: card.parent for name, card in cards.items()} == {"still": None, "ink": "still", "moving": None}
    assert [cards[name].limits["steps"] for name in ("still", "moving")] == [1000, 20]
    assert [cards[name].defaults["steps"] for name in ("still", "moving")] == [2, 3]
    assert (cards["still"].defaults["frames"], cards["moving"].defaults["frames"]) == (1, 49)
    assert client.models.retrieve("moving").id == "moving"


def test_a_request_names_its_model_and_the_first_is_that_of_those_that_do_not(client: OpenAI) -> None:
    named: Any
    for named in ({}, {"model": "still"}, {"model": "ink"}):
        made: Any = client.images.generate(prompt="a red star", **named)
        assert (made.group["model"], made.group["steps"]) == ("still", 2)
    named = {"model": "moving", "seconds": "1"}
    video: Any = client.videos.create_and_poll(prompt="a red star", poll_interval_ms=50, **named)
    assert (video.status, video.model, video.group["model"]) == ("completed", "moving", "moving")
    assert video.group["steps"] == 3


def test_what_a_model_does_not_make_is_refused_on_every_route(served: Served, client: OpenAI) -> None:
    picture = base64.b64decode(post(served).json()["data"][0]["b64_json"])
    edit: Any = {"image": ("a.png", picture), "prompt": "a purple star"}
    assert client.images.edit(**edit, model="still").data
    said = "moving makes videos: ask for them at /v1/videos"
    with pytest.raises(openai.BadRequestError, match=said):
        client.images.generate(prompt="a dot", model="moving")
    with pytest.raises(openai.BadRequestError, match=said):
        client.images.edit(**edit, model="moving")
    with pytest.raises(openai.BadRequestError, match="still makes images"):
        client.videos.create(prompt="a dot", model="still")
    assert job(served, "moving")["error"]["code"] == "wrong_model"


@pytest.mark.parametrize("path", ["images/generations", "images/edits", "videos"])
def test_a_model_that_there_is_not_is_not_found(served: Served, path: str) -> None:
    answer = httpx2.post(f"{served.url}/v1/{path}", json={"prompt": "a dot", "model": "other"})
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "there is no such model; there are still, ink, moving",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_limits_are_those_of_the_model(served: Served) -> None:
    for model, most in (("moving", 20), ("still", 1000)):
        refused = post(served, model=model, steps=most + 1).json()["error"]
        assert (refused["param"], refused["message"]) == (
            "steps",
            f"steps: Input should be less than or equal to {most}",
        )
    assert post(served, model=5).json()["error"]["param"] == "model"


def test_metrics_and_the_api_s_document_tell_models_apart(served: Served) -> None:
    post(served)
    lines = httpx2.get(f"{served.url}/metrics").text
    assert 'raydiance_image_requests_total{model="still",status="200"}' in lines
    assert 'raydiance_requests_in_flight{model="moving"} 0.0' in lines
    bodies = httpx2.get(f"{served.url}/openapi.json").json()["components"]["schemas"]
    names = ("EditRequestHere", "EditRequestHere2")
    assert [bodies[name]["properties"]["steps"]["default"] for name in names] == [2, 3]


def test_a_job_is_one_of_the_model_that_it_names(served: Served) -> None:
    for model, name in ((None, "still"), ("ink", "still")):
        begun = job(served, model)
        assert (begun["object"], begun["model"]) == ("job", name)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{config} name=still", "two models or LoRAs have the name 'still'"),
        ("{config} name=ink", "two models or LoRAs have the name 'ink'"),
        ("{config} api_keys_file=keys", "'api_keys_file'"),
        ("{config} max_m=3", "did you mean 'max_n'"),
        ("{config} max_n=0", "max_n = '0': Input should be greater"),
        ("{config} max_n", "'max_n' is no setting"),
        ("missing.toml name=a", "missing.toml"),
    ],
)
def test_what_is_wrong_with_a_further_model_is_said_at_the_start(
    tiny_pipeline: str, tmp_path: Path, entry: str, words: str
) -> None:
    first = with_lora(tmp_path, tiny_pipeline)
    other = config(tmp_path / "other.toml", tiny_pipeline)
    args = arguments([f"config={first}", "name=still", "scoring=off", f"configs={entry.format(config=other)}"])
    with pytest.raises(UserError, match=words):
        offered(args)


def test_a_lora_needs_another_name_than_its_model(tiny_pipeline: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two models or LoRAs have the name 'still'"):
        offered(ServeArgs(config=str(with_lora(tmp_path, tiny_pipeline, name="still")), name="still"))


def test_settings_of_how_are_shared_and_settings_of_what_are_not(tiny_pipeline: str, tmp_path: Path) -> None:
    other = config(tmp_path / "other.toml", tiny_pipeline, run=', plugins = ["colorsys"]')
    given = ["scoring=off", "name=first", "steps=3", "max_queue=5", "timeout_s=7"]
    first, second = offered(arguments([*given, f"configs={other} name=second timeout_s=9 scoring=off"]))
    assert (first.serving.sampling.steps, second.serving.sampling.steps) == (3, 28)
    assert [(one.args.max_queue, one.args.timeout_s) for one in (first, second)] == [(5, 7), (5, 9)]
    assert [one.args.plugins for one in (first, second)] == [("colorsys",), ("colorsys",)]  # of the whole process


def test_the_page_lets_one_choose(browser: Browser, tiny_pipeline: str, tmp_path: Path) -> None:
    other = config(tmp_path / "other.toml", tiny_pipeline)
    more = f"{other} name=second scoring=off size=24x16 steps=5 guidance_scale=2"
    args = ServeArgs(model=tiny_pipeline, name="first", size="16x16", steps=3, configs=(more,))
    with listening(args, BrokenEngine(), Keys(), more=[BrokenEngine()]) as url:
        page = browser.new_page()
        page.goto(url)
        choice = page.get_by_label("Model")
        expect(choice).to_have_value("first")
        expect(page.locator("#steps")).to_have_value("3")
        choice.select_option("second")
        expect(page.locator("#model")).to_have_text("second")
        expect(page.locator("#steps")).to_have_value("5")
        expect(page.locator("#size")).to_have_value("24x16")
        assert page.evaluate("asked().model") == "second"
        page.evaluate("fill({ ...asked(), model: 'first', prompt: 'a dot' }, false)")
        expect(choice).to_have_value("first")
        page.close()
