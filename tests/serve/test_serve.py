"""The endpoint on a real worker at toy size, through real HTTP and the official client, without Ray."""

from __future__ import annotations

import base64
import io
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from openai import OpenAI
from PIL import Image

from models.generator import Generator
from pipelines.config.load import build, load
from pipelines.dataset.ai_mark import SOURCE_TYPE, marked
from pipelines.dataset.images import decode, encode
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.plan.write import write_plan
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from tests.support.served import Served, post, serving

SECRET = "a-secret-of-some-length"


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0)


def pixels(response: Any) -> list[Any]:
    return [decode(base64.b64decode(image["b64_json"])) for image in response.json()["data"]]


def test_the_official_client(client: OpenAI) -> None:
    made = client.images.generate(prompt="a red star", n=2, size="16x16", response_format="b64_json", user="me")
    assert made.data is not None
    files = [base64.b64decode(image.b64_json or "") for image in made.data]
    assert [decode(file).shape for file in files] == [(16, 16, 3)] * 2
    assert made.data[0].url is None
    (linked,) = client.images.generate(prompt="a red star", size="auto", response_format="url").data or []
    answer = httpx2.get(linked.url or "")
    assert answer.headers["content-type"] == "image/png"
    assert decode(answer.content).shape == (16, 16, 3)
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "raydiance"


def test_the_official_client_streams(client: OpenAI) -> None:
    extra = {"seed": 5}
    whole = client.images.generate(prompt="a red star", n=2, extra_body=extra)
    events = list(client.images.generate(prompt="a red star", n=2, stream=True, extra_body=extra))
    kinds = [event.type.removeprefix("image_generation.") for event in events]
    assert kinds == ["progress", "progress", "completed", "completed", "group"]
    assert [event.b64_json for event in events if event.type == "image_generation.completed"] == [
        image.b64_json for image in whole.data or []
    ]
    images = [event for event in events if event.type == "image_generation.completed"]
    assert [(event.background, event.usage.total_tokens) for event in images] == [("opaque", 0)] * 2


def test_the_bytes_of_the_batch_jobs_groups(served: Served, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red star\n")
    table = {
        "run": {"output": str(tmp_path / "out"), "seed": 3},
        "prompts": {"path": str(tmp_path / "prompts.txt")},
        "model": {"path": served.args.model, "dtype": "float32"},
        "scoring": {"model": served.args.scoring},
        "sampling": {"steps": 3, "guidance_scale": 4.0, "width": 16, "height": 16, "max_sequence_length": 16},
        "group": {"size": 3},
        "tora": {"sigma": 1.5},
        "arms": [{"name": "stock"}, {"name": "both", "tora": True, "repulsion": True}],
    }
    job = build(table, file="test.toml")
    output = Storage.open(job.run.output)
    write_plan(job, output)
    generator = Generator(job.model)
    extras: list[dict[str, Any]] = [{}, {"tora": {"sigma": 1.5}, "repulsion": True}]
    for planned, extra in zip(groups_of(read_shard(output, 0)), extras, strict=True):
        files = [marked(encode(image, "png")) for image in generator.generate([planned])[0]]
        body = post(served, n=3, seed=3, steps=3, exact=True, **extra).json()
        assert [base64.b64decode(image["b64_json"]) for image in body["data"]] == files
        assert body["group"]["seeds"] == list(planned.seeds)
        assert body["group"]["model_revision"].startswith("content-")
        again = post(served, seeds=body["group"]["seeds"], steps=3, exact=True, **extra).json()
        assert [image["b64_json"] for image in again["data"]] == [image["b64_json"] for image in body["data"]]


def test_clients_with_inexact_numbers_get_and_give_seeds_as_texts(served: Served, client: OpenAI) -> None:
    first = post(served, n=2, seed=str(2**63 - 1)).json()
    assert (first["group"]["seed"], first["group"]["seed_text"]) == (2**63 - 1, str(2**63 - 1))
    texts = [image["seed_text"] for image in first["data"]]
    assert [int(text) for text in texts] == [image["seed"] for image in first["data"]] == first["group"]["seeds"]
    assert max(map(int, texts)) > 2**53
    again = client.images.generate(prompt="a red star", n=2, extra_body={"seeds": texts})
    assert [image.b64_json for image in again.data or []] == [image["b64_json"] for image in first["data"]]
    assert post(served, seed=str(2**63)).status_code == 400


def test_a_setting_leaves_the_mark_of_images_out(served: Served, args: ServeArgs) -> None:
    (with_mark,) = post(served, seed=1, exact=True, output_format="webp").json()["data"]
    with serving(args.model_copy(update={"mark": False})) as plain:
        (without,) = post(plain, seed=1, exact=True, output_format="webp").json()["data"]
    assert base64.b64decode(with_mark["b64_json"]) == marked(base64.b64decode(without["b64_json"]))
    assert with_mark["image_id"] == without["image_id"]


def test_scores(served: Served) -> None:
    on = post(served, n=2, seed=1, counterfactual="a blue star").json()
    assert on["group"]["clip_model"] == "local-dir:" + served.args.scoring.rpartition("/")[2]
    assert 1 <= on["group"]["group_vendi"] <= 2
    assert all(isinstance(on["data"][i][key], float) for i in (0, 1) for key in ("clip_score", "clip_margin"))
    assert on["group"]["clip_tokens_cut"] == {"prompt": 0, "counterfactual": 0}
    assert on["group"]["tokens_cut"] == on["group"]["negative_tokens_cut"] == {"text_encoder": 0, "text_encoder_2": 0}
    same = post(served, n=1, seed=1, counterfactual="A RED STAR").json()
    assert same["data"][0]["clip_margin"] is None
    assert "same tokens" in same["group"]["clip_margin_missing"]
    off = post(served, n=2, seed=1, scores=False).json()
    assert off["group"]["group_vendi"] is off["data"][0]["clip_score"] is None


def test_compatible_requests_share_a_batch(served: Served) -> None:
    prompts = ["a red star", "a blue ring", "a dot", "x"]
    extra: dict[str, Any] = {"n": 2, "seed": 4, "tora": True, "repulsion": True}
    with ThreadPoolExecutor(8) as pool:
        packed = [pool.submit(post, served, **{**extra, "prompt": prompt}) for prompt in prompts]
        others = [pool.submit(post, served, **{**extra, "prompt": prompt, "steps": 3}) for prompt in prompts[:2]]
        alone = pool.submit(post, served, **{**extra, "exact": True})
    sizes = [request.result().json()["group"]["groups_in_batch"] for request in packed]
    assert max(sizes) >= 2
    assert alone.result().json()["group"]["groups_in_batch"] == 1
    assert all(request.result().json()["group"]["steps"] == 3 for request in others)
    for prompt, request in zip(prompts, packed, strict=True):
        own = post(served, **{**extra, "prompt": prompt, "exact": True})
        for one, other in zip(pixels(request.result()), pixels(own), strict=True):
            assert np.abs(one.astype(int) - other.astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("body", "status", "param", "message"),
    [
        ({"n": 5}, 400, "n", "less than or equal to 4"),
        ({"size": "17x16"}, 400, "size", "'16x16', '24x16' or 'auto'"),
        ({"steps": 0}, 400, "steps", "greater than or equal to 1"),
        ({"prompt": " "}, 400, "prompt", "empty"),
        ({"prompt": "\x00"}, 400, "prompt", "control characters"),
        ({"prompt": "x" * 60}, 400, "prompt", "tokens longer than the model reads"),
        ({"negative_prompt": "x" * 60}, 400, "negative_prompt", "the negative prompt is"),
        ({"negative_prompt": "a dot", "guidance_scale": 1}, 400, "negative_prompt", "negative_prompt = 'a dot' has no"),
        ({"model": "dall-e-3"}, 404, "model", "this is tiny"),
        ({"tora": {"sigma": 99}}, 400, "tora", "sigma = 99.0 is out of range"),
        ({"repulsion": {"inner_steps": 9999}}, 400, "repulsion.inner_steps", "at most 1000"),
        ({"seeds": [1, 2], "n": 1}, 400, "seeds", "2 seeds for 1 images"),
        ({"num_inference_steps": 0}, 400, "num_inference_steps", "greater than or equal to 1"),
        ({"num_inference_steps": 2, "steps": 2}, 400, "num_inference_steps", "not both"),
        ({"sede": 1}, 400, "sede", "sede: there is no such field; did you mean 'seed'?"),
        ({"torra": True}, 400, "torra", "did you mean 'tora'?"),
        ({"nothing": 1}, 400, "nothing", "nothing: there is no such field"),
        ({"tora": {"sigm": 3}}, 400, "tora.sigm", "tora.sigm: there is no such field; did you mean 'sigma'?"),
        ({"tora": {"sigma": "x"}}, 400, "tora.sigma", "tora.sigma: Input should be a valid number"),
        ({"quality": "hd"}, 400, "quality", "quality: there are no levels of quality here: set steps; leave it out"),
        ({"style": "vivid"}, 400, "style", "say it in the prompt"),
        ({"background": "transparent"}, 400, "background", "opaque"),
        ({"output_compression": 50}, 400, "output_compression", "lossless"),
        ({"partial_images": 2}, 400, "partial_images", "set stream"),
        ({"partial_images": 4, "stream": True}, 400, "partial_images", "less than or equal to 3"),
        ({"guidance_scale": float("nan")}, 400, "guidance_scale", "finite"),
    ],
)
def test_errors_have_openais_shape(
    served: Served, body: dict[str, Any], status: int, param: str | None, message: str
) -> None:
    text = json.dumps({"prompt": "a red star", **body})
    answer = httpx2.post(
        f"{served.url}/v1/images/generations", content=text, headers={"content-type": "application/json"}, timeout=60
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_field_of_openai_that_asks_for_nothing_more_is_taken(served: Served) -> None:
    usual: dict[str, Any] = {
        "quality": "auto",
        "style": None,
        "background": "opaque",
        "moderation": "low",
        "user": "me",
    }
    assert post(served, output_compression=100, partial_images=0, **usual).status_code == 200


def test_jpeg_files(served: Served, client: OpenAI) -> None:
    made = {
        quality: client.images.generate(
            prompt="a red star", output_format="jpeg", output_compression=quality, extra_body={"seed": 5, "exact": True}
        )
        for quality in (0, 60, 100)
    }
    files = [base64.b64decode((answer.data or [])[0].b64_json or "") for answer in made.values()]
    assert [Image.open(io.BytesIO(file)).format for file in files] == ["JPEG"] * 3
    assert all(SOURCE_TYPE.encode() in file for file in files)
    assert len(files[0]) < len(files[1]) < len(files[2])
    lossless = post(served, seed=5, exact=True).json()["data"][0]
    assert [(answer.data or [])[0].image_id for answer in made.values()] == [lossless["image_id"]] * 3  # type: ignore[attr-defined]
    exact = decode(base64.b64decode(lossless["b64_json"])).astype(int)
    assert np.abs(decode(files[2]).astype(int) - exact).mean() < np.abs(decode(files[0]).astype(int) - exact).mean() / 4
    link = post(served, output_format="jpeg", response_format="url").json()["data"][0]["url"]
    assert httpx2.get(link).headers["content-type"] == "image/jpeg"


def test_an_answer_has_openais_standard_fields(served: Served, client: OpenAI) -> None:
    raw = client.images.with_raw_response.generate(prompt="a red star", size="24x16")
    made = raw.parse()
    assert (made.size, made.output_format, made.background, made.quality) == ("24x16", "png", "opaque", "auto")
    assert made.usage is not None
    assert (made.usage.total_tokens, made.usage.input_tokens_details.text_tokens) == (0, 0)
    assert abs(made.created - time.time()) < 60
    assert int(raw.headers["openai-processing-ms"]) >= 1000 * made.group["generate_seconds"]  # type: ignore[attr-defined]


def test_steps_by_the_name_that_diffusers_gives_them(served: Served) -> None:
    assert post(served, num_inference_steps=3).json()["group"]["steps"] == 3
    assert post(served, num_inference_steps=None).json()["group"]["steps"] == 2


def test_noise_levels_bring_their_number_of_steps(served: Served) -> None:
    group = post(served, sigmas=[1.0, 0.6, 0.1]).json()["group"]
    assert (group["steps"], group["sigmas"]) == (3, [1.0, 0.6, 0.1])
    assert post(served, sigmas=[]).json()["group"]["sigmas"] == []
    for wrong in ({"steps": 4, "sigmas": [1.0, 0.5]}, {"sigmas": [0.5, 1.0]}):
        error = post(served, **wrong).json()["error"]
        assert (error["param"], error["code"]) == ("sigmas", "invalid_value")
        assert "noise levels" in error["message"]


def test_other_refusals(served: Served, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="less than or equal"):
        client.images.generate(prompt="a", n=9)
    assert post(served, prompt="x" * (65 << 10)).status_code == 413
    assert httpx2.get(f"{served.url}/v1/models", headers={"host": "evil.example"}).status_code == 403
    for kind, content, words in (
        ("text/plain", '{"prompt": "a"}', "Content-Type is 'text/plain'"),
        ("application/json", '{"prompt": "a", "n"', "expecting ':' delimiter in line 1, column 20"),
    ):
        url = f"{served.url}/v1/images/generations"
        answer = httpx2.post(url, content=content, headers={"content-type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert words in answer.json()["error"]["message"]
    for path, status in {"/nowhere": 404, "/v1/images/generations": 405, "/v1/images/files/no.png": 404}.items():
        answer = httpx2.get(served.url + path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_documents(served: Served) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
        assert httpx2.get(served.url + path).status_code == 200
    assert "cdn" not in httpx2.get(f"{served.url}/docs").text
    document = httpx2.get(f"{served.url}/openapi.json")
    assert "ValidationError" not in document.text  # no error has FastAPI's own form
    assert "422" in document.json()["paths"]["/v1/images/generations"]["post"]["responses"]
    post(served)
    metrics = httpx2.get(f"{served.url}/metrics").text
    assert 'raydiance_image_requests_total{model="tiny",status="200"}' in metrics
    assert 'raydiance_requests_in_flight{model="tiny"} 0.0' in metrics


def test_head_is_answered_wherever_get_is(served: Served) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/tiny"):
        got, head = httpx2.get(served.url + path), httpx2.head(served.url + path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # whose numbers move
            assert head.headers["content-length"] == str(len(got.content))
    assert httpx2.head(f"{served.url}/v1/images/files/none.png").status_code == 404
    assert httpx2.head(f"{served.url}/nowhere").status_code == 404
    assert httpx2.head(f"{served.url}/v1/images/generations").headers["allow"] == "POST"
    refused = httpx2.delete(f"{served.url}/healthz")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_keys_are_asked_for(args: ServeArgs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(args, Keys(frozenset({SECRET, "another-secret-of-mine"}))) as served:
        headers: list[dict[str, str]] = [{}, {"authorization": "Bearer wrong"}, {"authorization": SECRET}]
        for header in headers:
            for path in ("/v1/models", "/metrics"):
                assert httpx2.get(served.url + path, headers=header).status_code == 401
        with pytest.raises(openai.AuthenticationError):
            OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0).images.generate(prompt="my own words")
        good = OpenAI(base_url=f"{served.url}/v1", api_key=SECRET, max_retries=0)
        assert good.images.generate(prompt="my own words").data
        with pytest.raises(openai.BadRequestError):
            good.images.generate(prompt="my own words " * 9)
        assert httpx2.get(f"{served.url}/healthz", headers={"host": "elsewhere.example"}).status_code == 200
    assert "a group failed: PromptError" in caplog.text
    assert "own words" not in caplog.text
    assert SECRET not in caplog.text


def test_a_config_of_the_batch_job_sets_the_endpoint_up(tmp_path: Path, tiny_pipeline: str) -> None:
    from pipelines.serve.serving import resolve

    toml = tmp_path / "job.toml"
    toml.write_text(f"""
        run = {{output = "out"}}
        prompts = {{path = "p.txt"}}
        model = {{path = "{tiny_pipeline}", dtype = "float32"}}
        scoring = {{model = "ViT-B-32", pretrained = "openai"}}
        sampling = {{steps = 7, width = 16, height = 16}}
        tora = {{sigma = 1.4}}
    """)
    serving = resolve(ServeArgs.model_validate({"config": str(toml), "sizes": "32x32, 16x16", "guidance_scale": "2"}))
    job = load(toml)
    assert (serving.model, serving.interventions) == (job.model, job.interventions)
    assert (serving.sampling.steps, serving.sampling.guidance_scale) == (7, 2.0)
    assert serving.sizes == ("16x16", "32x32")
