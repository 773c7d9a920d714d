"""/v1/videos through the official client, on a toy of CogVideoX."""

from __future__ import annotations

import io
import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx2
import openai
import pytest
from openai import OpenAI
from PIL import Image

from pipelines.dataset.ai_mark import SOURCE_TYPE
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from tests.support.docs import GUIDES, blocks
from tests.support.served import BrokenEngine, Served, listening, post, serving
from tests.support.toys import pipelines as toys

LONG = 1000
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")


@pytest.fixture(scope="module")
def served(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("videos")
    args = ServeArgs(
        model=str(toys.save("cogvideox", folder)),
        dtype="float32",
        scoring=tiny_clip,
        name="toy-video",
        size="16x16",
        steps=2,
        max_steps=LONG,
        max_seconds=4,
    )
    with serving(args) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)


def create(served: Served, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{served.url}/v1/videos", json={"prompt": "a red star", **body}, timeout=60)


def over(served: Served, answer: httpx2.Response) -> Any:
    """The video, once it is made or has failed."""
    url = f"{served.url}/v1/videos/{answer.json()['id']}"
    while (video := httpx2.get(url).json())["status"] in ("queued", "in_progress"):
        time.sleep(0.02)
    return video


def frames(data: bytes) -> tuple[int, float]:
    """Frames of an MP4, and those of a second."""
    with av.open(io.BytesIO(data), "r") as file:
        (stream,) = file.streams.video
        return len([*file.decode(stream)]), float(stream.average_rate or 0)


def test_the_official_client_makes_polls_and_downloads_a_video(client: OpenAI) -> None:
    asked: Any = {"model": "toy-video", "size": "16x16", "seconds": "2"}
    video: Any = client.videos.create_and_poll(prompt="a red star", poll_interval_ms=50, **asked)
    assert (video.object, video.status, video.progress, video.error) == ("video", "completed", 100, None)
    assert (video.size, video.model, video.prompt) == ("16x16", "toy-video", "a red star")
    assert video.completed_at <= video.expires_at - 3599
    answer = client.videos.download_content(video.id)
    assert answer.response.headers["content-type"] == "video/mp4"
    assert SOURCE_TYPE.encode() in answer.content
    assert frames(answer.content) == (17, 8)  # 2 s of 8 frames, and 1 more than a multiple of 8
    assert (video.seconds, video.group["frames"]) == ("2.125", 17)
    assert next(iter(client.videos.list())).id == video.id
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(video.id)


def test_settings_of_groups_are_taken_and_the_answer_is_that_of_a_group(served: Served, client: OpenAI) -> None:
    extra: Any = {"seed": 3, "tora": True, "repulsion": {"strength": 2.0}, "output_format": "webp", "guidance_scale": 3}
    begun: Any = client.videos.create(prompt="a red star", extra_body=extra)  # as a form, whose values are texts
    while (video := client.videos.retrieve(begun.id)).status in ("queued", "in_progress"):
        time.sleep(0.02)
    file = client.videos.download_content(video.id)
    with Image.open(io.BytesIO(file.content)) as opened:
        assert (opened.format, opened.size) == ("WEBP", (16, 16))
    answer = httpx2.get(f"{served.url}/v1/jobs/{video.id}/result").json()
    group, (one,) = answer["group"], answer["data"]
    assert (group["seed"], group["frames"], group["fps"], group["guidance_scale"]) == (3, 49, 8, 3.0)
    assert (group["tora"]["sigma"], group["repulsion"]["strength"]) == (1.3, 2.0)
    assert 0 < one["temporal_consistency"] <= 1
    again = over(served, create(served, seeds=group["seeds"], **extra | {"seed": None, "output_format": "mp4"}))
    same = httpx2.get(f"{served.url}/v1/jobs/{again['id']}/result").json()
    assert same["data"][0]["image_id"] == one["image_id"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"seconds": 5}, "seconds", "less than or equal to 4"),
        ({"size": "720x1280"}, "size", "'16x16'"),
        ({"input_reference": {"image_url": "https://example.org/a.png"}}, "input_reference", "begin from the prompt"),
        ({"n": 2}, "n", "should be 1"),
        ({"output_compression": 50}, "output_compression", "only jpeg has levels of quality"),
        ({"frames": 9}, "frames", "there is no such field"),
        ({"prompt": " "}, "prompt", "empty"),
    ],
)
def test_what_does_not_fit_is_said_at_once(served: Served, body: Any, param: str, words: str) -> None:
    answer = create(served, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert words in answer.json()["error"]["message"]


def test_a_null_is_what_is_left_out(served: Served) -> None:
    video = over(served, create(served, response_format=None, output_format=None, n=None))
    answer = httpx2.get(f"{served.url}/v1/videos/{video['id']}/content")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")


def test_a_video_that_is_removed_while_it_is_made_stops(served: Served) -> None:
    begun = create(served, steps=LONG).json()
    url = f"{served.url}/v1/videos/{begun['id']}"
    while (video := httpx2.get(url).json())["progress"] == 0:
        time.sleep(0.02)
    assert video["status"] == "in_progress"
    early = httpx2.get(f"{url}/content")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not_done")
    assert httpx2.delete(url).json() == {"id": begun["id"], "object": "video.deleted", "deleted": True}
    began = time.monotonic()
    assert over(served, create(served, seconds=1))["status"] == "completed"
    assert time.monotonic() - began < 10


def test_a_cancelled_video_is_one_that_failed_in_openais_words(served: Served) -> None:
    begun = create(served, steps=LONG).json()
    httpx2.post(f"{served.url}/v1/jobs/{begun['id']}/cancel")
    video = over(served, httpx2.get(f"{served.url}/v1/videos/{begun['id']}"))
    assert (video["status"], video["error"]["code"]) == ("failed", "cancelled")


def test_each_kind_of_model_says_what_it_makes(served: Served, tiny_pipeline: str) -> None:
    refused = post(served).json()["error"]
    assert (refused["code"], refused["message"]) == (
        "wrong_model", "toy-video makes videos: ask for them at /v1/videos",
    )  # fmt: skip
    args = ServeArgs(model=tiny_pipeline, name="pictures", size="16x16")
    with listening(args, BrokenEngine(), Keys()) as url:
        answer = httpx2.post(f"{url}/v1/videos", json={"prompt": "a red star"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "pictures makes images: ask for them at /v1/images/generations"


def test_the_guide_s_python_makes_a_video(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [code for code in blocks(GUIDES["pipelines/serve/README.md"], "python") if "videos" in code]
    monkeypatch.chdir(tmp_path)
    Path("asks.py").write_text(code.replace("http://127.0.0.1:8000", served.url))
    runpy.run_path("asks.py")
    assert frames(Path("star.mp4").read_bytes()) == (33, 8)
