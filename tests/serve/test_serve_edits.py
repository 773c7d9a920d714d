"""/v1/images/edits through the official client: of a model that begins from pictures, and of one that reads them."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai import OpenAI
from PIL import Image

from models.generator import Generator
from models.info import ModelInfo
from models.spec import Group, ModelSpec
from pipelines.dataset.failures import Failure
from pipelines.dataset.images import decode
from pipelines.serve import worker
from pipelines.serve.fitted import fitted
from pipelines.serve.jobs import Job
from pipelines.serve.keys import Keys
from pipelines.serve.masks import white_where_transparent
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs
from tests.support.served import BrokenEngine, Served, listening, post, serving
from tests.support.toys import pipelines as toys

EDITS = "/v1/images/edits"
RANDOM = np.random.default_rng(0)
SIDE = 32


def png(picture: NDArray[np.uint8] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


PICTURE = png(RANDOM.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
OTHER = png(RANDOM.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))

ANIMATED = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]


def served_toy(name: str, folder: Any, clip: str, **changes: Any) -> ServeArgs:
    settings = {"size": f"{SIDE}x{SIDE}", "steps": 4, "max_sequence_length": 16, "max_n": 4, "name": name, **changes}
    return ServeArgs.model_validate(
        {"model": str(toys.save(name, folder)), "dtype": "float32", "scoring": clip, **settings}
    )


@pytest.fixture(scope="module")
def served(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Of a model that begins from a picture, and paints masks anew."""
    args = served_toy("sd3-masked", tmp_path_factory.mktemp("edits"), tiny_clip, sizes="32x32,32x16,16x32")
    with serving(args) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)


def pixels(image: Any) -> NDArray[np.uint8]:
    return decode(base64.b64decode(image.b64_json))


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_the_official_client_edits_a_picture(served: Served, client: OpenAI) -> None:
    asked: Any = {"prompt": "a red star", "n": 2, "size": "32x32", "response_format": "b64_json"}
    extra: Any = {"seed": 5, "tora": True, "denoising_strength": 0.5, "exact": True}
    made: Any = client.images.edit(image=("star.png", PICTURE), extra_body=extra, **asked)
    assert made.group["denoising_strength"] == 0.5
    here = resolve(served.args)
    group = Group(
        prompt="a red star",
        seeds=tuple(made.group["seeds"]),
        sampling=replace(here.sampling, denoising_strength=0.5),
        pictures=(PICTURE,),
        interventions=(here.interventions["tora"],),
    )
    (expected,) = Generator(ModelSpec(path=served.args.model, dtype="float32")).generate([group])
    assert [(pixels(image) == picture).all() for image, picture in zip(made.data, expected, strict=True)] == [
        True,
        True,
    ]
    far: Any = client.images.edit(image=("star.png", PICTURE), extra_body=extra | {"denoising_strength": 1.0}, **asked)
    assert distance(far.data[0]) > distance(made.data[0])


def distance(image: Any) -> float:
    return float(np.abs(pixels(image).astype(float) - decode(PICTURE)).mean())


def test_json_with_data_urls_is_the_same_as_a_form(served: Served, client: OpenAI) -> None:
    extra = {"seed": 5, "exact": True}
    form = client.images.edit(image=[("a.png", PICTURE)], prompt="a red star", extra_body=extra)
    body = {"prompt": "a red star", "images": [{"image_url": data_url(PICTURE)}], **extra}
    answer = httpx2.post(served.url + EDITS, json=body, timeout=60).json()
    assert answer["data"][0]["b64_json"] == (form.data or [])[0].b64_json


def test_what_is_transparent_in_a_mask_is_made_anew(served: Served, client: OpenAI) -> None:
    alpha = np.full((SIDE, SIDE, 4), 255, np.uint8)
    alpha[:, SIDE // 2 :, 3] = 0
    white = png(np.where(alpha[..., 3] == 0, 255, 0).astype(np.uint8))

    def made(mask: bytes) -> Any:
        extra = {"seed": 5, "denoising_strength": 0.9, "exact": True}
        return client.images.edit(
            image=("a.png", PICTURE), mask=("mask.png", mask), prompt="a red star", extra_body=extra
        )

    by_alpha = made(png(alpha))
    sampling = replace(resolve(served.args).sampling, denoising_strength=0.9)
    seeds = tuple(by_alpha.group["seeds"])
    group = Group(prompt="a red star", seeds=seeds, sampling=sampling, pictures=(PICTURE,), mask=white)
    (expected,) = Generator(ModelSpec(path=served.args.model, dtype="float32")).generate([group])
    for image in (by_alpha.data[0], made(white).data[0]):
        assert (pixels(image) == expected[0]).all()
    alpha[..., 3] = 255 - alpha[..., 3]
    assert (pixels(made(png(alpha)).data[0]) != expected[0]).any()


def test_a_mask_without_transparency_stays_as_it_is() -> None:
    grey = png(np.zeros((2, 2), np.uint8))
    assert white_where_transparent(grey) == grey
    holes = np.array([[[9, 9, 9, 0], [250, 250, 250, 255]], [[0, 0, 0, 1], [0, 0, 0, 0]]], np.uint8)
    with Image.open(io.BytesIO(white_where_transparent(png(holes)))) as opened:
        assert np.asarray(opened).tolist() == [[255, 0], [0, 255]]


def test_the_official_client_streams_edits(client: OpenAI) -> None:
    asked: Any = {"image": ("a.png", PICTURE), "prompt": "a red star", "extra_body": {"seed": 5}}
    whole = client.images.edit(**asked)
    events = [*client.images.edit(stream=True, **asked)]
    assert {event.type.split(".")[0] for event in events} == {"image_edit"}
    assert [event.type.split(".")[1] for event in events][-2:] == ["completed", "group"]
    (made,) = [event for event in events if event.type == "image_edit.completed"]
    assert made.b64_json == (whole.data or [])[0].b64_json


def test_an_edit_can_be_a_job(served: Served, client: OpenAI) -> None:
    asked: Any = {"image": ("a.png", PICTURE), "prompt": "a red star", "extra_body": {"seed": 5, "exact": True}}
    begun: Any = client.images.edit(extra_headers={"prefer": "respond-async"}, **asked)
    while httpx2.get(f"{served.url}/v1/jobs/{begun.id}").json()["completed_at"] is None:
        pass
    answer = httpx2.get(f"{served.url}/v1/jobs/{begun.id}/result").json()
    assert answer["data"][0]["b64_json"] == (client.images.edit(**asked).data or [])[0].b64_json


@pytest.mark.parametrize(("shape", "size"), [((80, 20), "32x16"), ((20, 80), "16x32"), ((50, 45), "32x32")])
def test_the_size_is_that_which_is_most_like_the_picture(client: OpenAI, shape: Any, size: str) -> None:
    picture, unsaid = ("a.png", png(Image.new("RGB", shape, "red"))), dict[str, Any]()
    for said in (unsaid, {"size": "auto"}):
        made: Any = client.images.edit(image=picture, prompt="a star", **said)
        assert made.group["size"] == size


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "image", "Field required"),
        ({"image": b"GIF89a nothing"}, "image.0", "is no PNG, JPEG or WEBP file"),
        ({"image": png(Image.new("RGB", (9, 9)), "GIF")}, "image.0", "is no PNG, JPEG or WEBP file"),
        (
            {
                "image": png(
                    Image.new("RGB", (9, 9)), "WEBP", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")]
                )
            },
            "image.0",
            "animated",
        ),
        ({"image": png(Image.new("1", (9000, 9000)))}, "image.0", "more than 64 megapixels"),
        ({"image": PICTURE, "mask": png(Image.new("L", (9, 9), 255))}, "mask", "9 x 9 pixels and the picture 32 x 32"),
        ({"image": PICTURE, "mask": png(Image.new("L", (SIDE, SIDE)))}, "image", "the mask is black"),
        ({"image": [PICTURE, OTHER]}, "image", "takes at most 1 input picture; the prompt has 2"),
        ({"image": [PICTURE] * 17}, "image", "at most 16"),
        ({"image": "https://example.org/a.png"}, "image.0", "nothing is fetched"),
        ({"image": "data:image/png;base64,x"}, "image.0", "no base64"),
        ({"image": "/etc/passwd"}, "image.0", "a data URL"),
        ({"image": PICTURE, "denoising_strength": "2"}, "denoising_strength", "less than or equal to 1"),
        ({"image": PICTURE, "input_fidelity": "high"}, "input_fidelity", "low"),
        ({"image": PICTURE, "markup": PICTURE}, "markup", "there is no such field"),
    ],
)
def test_pictures_are_looked_at_before_any_work(served: Served, fields: Any, param: str, words: str) -> None:
    parts: list[Any] = [("prompt", (None, "a red star"))]
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            called = f"{name}[]" if isinstance(value, list) else name
            parts.append((called, ("a.png" if isinstance(one, bytes) else None, one)))
    asked = httpx2.post(served.url + EDITS, files=parts, timeout=60)
    error = asked.json()["error"]
    assert (asked.status_code, error["param"]) == (400, param)
    assert words in error["message"]


def test_pixels_of_one_request_at_a_time_are_looked_at(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    most: list[int] = []

    def looked_at(job: Job, info: ModelInfo) -> Job | Failure:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        inside.pop()
        return fitted(job, info)

    monkeypatch.setattr(worker, "fitted", looked_at)
    body = {"prompt": "a red star", "image": data_url(PICTURE), "size": "32x32"}
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(httpx2.post, f"{served.url}/v1/images/edits", json=body, timeout=60) for _ in range(3)]
    assert [one.result().status_code for one in asked] == [200, 200, 200]
    assert most == [1, 1, 1]


def test_bodies_with_pictures_have_a_limit_of_their_own(served: Served) -> None:
    large = png(RANDOM.integers(0, 256, (400, 400, 3), dtype=np.uint8))
    assert len(large) > served.args.max_body_kb << 10
    form: Any = {"data": {"prompt": "a red star"}, "files": [("image", ("a.png", large))]}
    assert httpx2.post(served.url + EDITS, timeout=60, **form).status_code == 200
    args = ServeArgs(max_pictures_mb=1)
    with listening(args, BrokenEngine(), Keys()) as url:
        larger = {**form, "files": [("image", ("a.png", large + bytes(1 << 20)))]}
        assert httpx2.post(url + EDITS, timeout=60, **larger).status_code == 413
        assert httpx2.post(f"{url}/v1/images/generations", timeout=60, **form).status_code == 413


def test_a_model_that_reads_pictures(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(served_toy("flux-kontext", tmp_path_factory.mktemp("kontext"), tiny_clip)) as served:
        client = OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)
        asked: Any = {"prompt": "a red star", "extra_body": {"seed": 5}}
        (one,) = client.images.edit(image=("a.png", PICTURE), **asked).data or []
        (other,) = client.images.edit(image=("b.png", OTHER), **asked).data or []
        assert one.b64_json != other.b64_json
        with pytest.raises(openai.BadRequestError, match="begins from no picture; leave it out"):
            client.images.edit(image=("a.png", PICTURE), prompt="a star", extra_body={"denoising_strength": 0.5})
        with pytest.raises(openai.BadRequestError, match="takes no mask"):
            client.images.edit(image=("a.png", PICTURE), mask=("m.png", PICTURE), prompt="a star")
        refused = post(served).json()["error"]
        assert (refused["param"], "needs 1; the prompt has none" in refused["message"]) == ("image", True)


def test_no_picture_is_in_the_log_or_in_the_body_of_an_error(served: Served) -> None:
    body = {"prompt": "a red star", "image": "x" * 100_000}
    answer = httpx2.post(served.url + EDITS, json=body, timeout=60)
    assert answer.status_code == 400
    assert len(json.dumps(answer.json())) < 1000


def test_a_form_that_is_sent_again_with_its_key_is_answered_once(served: Served, client: OpenAI) -> None:
    """Each time with another boundary between its parts."""
    again = {"idempotency-key": "once"}
    asked: Any = {"image": ("a.png", PICTURE), "prompt": "a red star", "extra_headers": again}
    first, second = client.images.edit(**asked), client.images.edit(**asked)
    assert (first.data or [])[0].b64_json == (second.data or [])[0].b64_json  # of a seed that was chosen at random
    with pytest.raises(openai.UnprocessableEntityError, match="another request"):
        client.images.edit(**asked | {"image": ("a.png", OTHER)})
