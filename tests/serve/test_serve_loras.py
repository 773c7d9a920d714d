"""LoRAs of the served model, by name: as the model of a request, or several of them at other scales."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from pipelines.serve.settings import ServeArgs
from tests.support import loras
from tests.support.served import TINY, Served, post, serving


@pytest.fixture(scope="module")
def served(tiny_pipeline: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("loras")
    tables = ""
    for seed, name in enumerate(("ink", "oil")):
        path = loras.save(folder / f"{name}.safetensors", seed=seed)
        tables += f'[[model.loras]]\nname = "{name}"\npath = "{path}"\nscale = 0.5\n'
    Path(folder / "oil.toml").write_text("[tora]\nsigma = 5.0\n")
    config = Path(folder / "job.toml")
    config.write_text(
        'run = {output = "out"}\nprompts = {path = "p.txt"}\nscoring = {model = "ViT-B-32", pretrained = "openai"}\n'
        f'[model]\npath = "{tiny_pipeline}"\ndtype = "float32"\n{tables}'
    )
    with serving(ServeArgs(config=str(config), scoring="off", name="tiny", **TINY)) as running:
        yield running


def image(served: Served, **body: Any) -> Any:
    answer = post(served, seed=1, exact=True, **body).json()
    return answer["data"][0]["image_id"], answer["group"]["loras"]


def test_a_lora_is_a_model_of_its_own(served: Served) -> None:
    client = OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)
    assert [(model.id, getattr(model, "parent", "")) for model in client.models.list()] == [
        ("tiny", None),
        ("ink", "tiny"),
        ("oil", "tiny"),
    ]
    assert client.models.retrieve("ink").id == "ink"
    ink, oil = image(served, model="ink"), image(served, model="oil")
    assert (ink[1], oil[1]) == ([{"name": "ink", "scale": 0.5}], [{"name": "oil", "scale": 0.5}])
    both, neither = image(served), image(served, loras=[])
    assert [lora["name"] for lora in both[1]] == ["ink", "oil"]
    assert neither[1] == []
    assert len({made[0] for made in (ink, oil, both, neither)}) == 4


def test_loras_act_by_name_and_at_other_scales(served: Served) -> None:
    assert image(served, loras=["ink"]) == image(served, model="ink")
    assert image(served, loras=[{"name": "ink", "scale": 0.5}, "oil"]) == image(served)
    weak = image(served, loras=[{"name": "ink", "scale": 0.25}])
    assert weak[1] == [{"name": "ink", "scale": 0.25}]
    assert weak[0] != image(served, model="ink")[0]


def test_a_request_without_a_lora_is_told_that_it_has_its_settings(served: Served) -> None:
    def warnings(**body: Any) -> Any:
        return post(served, **body).json()["group"]["warnings"]

    (said,) = warnings(loras=["ink"], tora=True)
    assert said.startswith("the request is without the LoRA 'oil', but has settings that are recommended with it: tora")
    assert warnings(model="ink", tora=True) == [said]
    assert warnings(tora=True) == warnings(loras=["ink"]) == warnings(loras=["ink"], tora={"sigma": 2.0}) == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"loras": ["chalk"]}, 400, "loras = ['chalk'] needs names of LoRAs, each once (there: ink, oil)"),
        ({"loras": ["ink", "ink"]}, 400, "each once"),
        ({"loras": [{"name": "ink", "scale": 11}]}, 400, "less than or equal to 10"),
        ({"loras": ["oil"], "model": "ink"}, 400, "not both"),
        ({"model": "chalk"}, 404, "there are tiny, ink, oil"),
    ],
)
def test_what_is_not_there_is_refused(served: Served, body: Any, status: int, words: str) -> None:
    answer = post(served, **body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
