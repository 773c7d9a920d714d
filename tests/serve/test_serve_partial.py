"""Images in the stream while they are made, read by the official client."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import ImageGenPartialImageEvent

from models.info import ModelInfo
from pipelines.dataset.ai_mark import SOURCE_TYPE
from pipelines.dataset.images import decode
from tests.support.served import Served, post, serving, tiny_args


def stream(served: Served, prompt: str = "a red star", **more: Any) -> list[Any]:
    client = OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)
    extra = {"seed": 5, "steps": 6, "exact": True, **more.pop("extra", {})}
    return list(client.images.generate(prompt=prompt, stream=True, extra_body=extra, **more))


def kinds(events: list[Any]) -> list[str]:
    return [event.type.removeprefix("image_generation.") for event in events if not event.type.endswith("progress")]


def test_they_are_events_of_openais_form(served: Served) -> None:
    events = stream(served, n=2, size="24x16", partial_images=2, output_format="webp")
    assert kinds(events) == ["partial_image"] * 4 + ["completed"] * 2 + ["group"]
    parts = [event for event in events if event.type == "image_generation.partial_image"]
    assert all(isinstance(part, ImageGenPartialImageEvent) for part in parts)
    assert [(part.partial_image_index, part.index) for part in parts] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for part in parts:
        file = base64.b64decode(part.b64_json)
        assert decode(file).shape == (16, 24, 3)
        assert file.startswith(b"RIFF")
        assert SOURCE_TYPE.encode() in file
        assert (part.size, part.output_format, part.background, part.quality) == ("24x16", "webp", "opaque", "auto")
    assert len({part.b64_json for part in parts}) == 4


def test_the_images_are_the_same(served: Served) -> None:
    plain, shown = stream(served), stream(served, partial_images=3)
    assert kinds(plain) == ["completed", "group"]
    assert kinds(shown) == ["partial_image"] * 3 + ["completed", "group"]
    assert plain[-2].b64_json == shown[-2].b64_json


def test_a_shared_batch_shows_them_to_those_who_asked(tiny_pipeline: str, tiny_clip: str) -> None:
    shared = {"exact": False}
    # The batch begins when the third group has come.
    packs = {"groups_per_batch": 3, "pack_wait_ms": 10_000}
    args = tiny_args(tiny_pipeline, tiny_clip).model_copy(update=packs)
    with serving(args) as served, ThreadPoolExecutor(3) as pool:
        asked = [
            pool.submit(stream, served, prompt, partial_images=number, extra=shared)
            for prompt, number in (("a red star", 0), ("a blue dot", 1), ("a green dot", 2))
        ]
        found = [one.result() for one in asked]
    assert [kinds(events).count("partial_image") for events in found] == [0, 1, 2]
    assert [events[-1].groups_in_batch for events in found] == [3, 3, 3]


def test_who_goes_away_is_sent_none(served: Served) -> None:
    client = OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)
    with client.images.generate(
        prompt="a red star", n=4, stream=True, partial_images=3, extra_body={"steps": 1000}
    ) as events:
        assert next(iter(events)).type == "image_generation.progress"  # type: ignore[comparison-overlap]
    assert kinds(stream(served, partial_images=1)) == ["partial_image", "completed", "group"]


def test_a_model_that_shows_none_refuses_to(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {**vars(served.worker._generator.info), "previews": False}
    monkeypatch.setattr(served.worker._generator, "info", ModelInfo(**without))
    with pytest.raises(openai.BadRequestError, match="not shown while they are made; leave it out") as raised:
        stream(served, partial_images=1)
    assert raised.value.param == "partial_images"
    assert post(served).status_code == 200
