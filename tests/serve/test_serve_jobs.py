"""Asynchronous jobs through the official client and HTTP: created, polled, cancelled, fetched, by their owners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from pipelines.dataset.images import decode
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from tests.support.served import BrokenEngine, Served, listening, serving, tiny_args

LONG = 1000
"""Steps that take the tiny model seconds."""
ASYNC = {"prefer": "respond-async"}
ANN, BOB = "the-key-of-ann-is-this", "the-key-of-bob-is-this"


@pytest.fixture(scope="module")
def args(tiny_pipeline: str, tiny_clip: str) -> ServeArgs:
    return tiny_args(tiny_pipeline, tiny_clip).model_copy(update={"max_jobs": 3})


@pytest.fixture(scope="module")
def served(args: ServeArgs) -> Iterator[Served]:
    with serving(args, Keys(frozenset({ANN, BOB}))) as running:
        yield running


class Caller:
    """Calls with a key."""

    def __init__(self, served: Served, key: str) -> None:
        self.http = httpx2.Client(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=60)

    def begin(self, **body: Any) -> httpx2.Response:
        return self.http.post("/v1/images/generations", json={"prompt": "a red star", **body}, headers=ASYNC)

    def job(self, job_id: str) -> Any:
        return self.http.get(f"/v1/jobs/{job_id}").json()

    def over(self, job_id: str) -> Any:
        """The job, once it is over."""
        while (job := self.job(job_id))["completed_at"] is None:
            time.sleep(0.02)
        return job


@pytest.fixture
def ann(served: Served) -> Iterator[Caller]:
    """A caller who leaves no jobs behind."""
    caller = Caller(served, ANN)
    yield caller
    for job in caller.http.get("/v1/jobs").json()["data"]:
        assert caller.http.delete(f"/v1/jobs/{job['id']}").json()["deleted"] is True


def test_the_official_client_makes_a_job_of_a_call(served: Served, ann: Caller) -> None:
    client = OpenAI(base_url=f"{served.url}/v1", api_key=ANN, max_retries=0)
    begun: Any = client.images.generate(prompt="a red star", n=2, extra_headers=ASYNC, extra_body={"seed": 5})
    assert (begun.object, begun.status in ("queued", "in_progress")) == ("job", True)
    assert 0 <= begun.deadline - begun.created_at - served.args.job_timeout_s <= 1
    done = ann.over(begun.id)
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert done["expires_at"] >= done["completed_at"] + 3599
    made = client.get(f"/jobs/{begun.id}/result", cast_to=openai.types.ImagesResponse)
    at_once = client.images.generate(prompt="a red star", n=2, extra_body={"seed": 5})
    assert [image.b64_json for image in made.data or []] == [image.b64_json for image in at_once.data or []]


def test_metrics_count_jobs_by_status(ann: Caller) -> None:
    ann.over(ann.begin().json()["id"])
    lines = ann.http.get("/metrics").text.splitlines()
    assert 'raydiance_jobs{status="completed"} 1.0' in lines
    assert 'raydiance_jobs{status="queued"} 0.0' in lines


def test_a_job_says_where_it_is_and_that_it_is_one(ann: Caller) -> None:
    answer = ann.begin(seed=1)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert ann.http.get(answer.headers["location"]).json()["id"] == answer.json()["id"]


def test_images_of_a_job_may_be_urls(ann: Caller) -> None:
    job = ann.over(ann.begin(response_format="url").json()["id"])
    (image,) = ann.http.get(f"/v1/jobs/{job['id']}/result").json()["data"]
    assert decode(httpx2.get(image["url"]).content).shape == (16, 16, 3)
    ann.http.delete(f"/v1/jobs/{job['id']}")
    assert httpx2.get(image["url"]).status_code == 404


def test_a_job_is_seen_and_stopped_by_the_key_that_made_it_alone(served: Served, ann: Caller) -> None:
    mine, bob = ann.begin(steps=LONG).json()["id"], Caller(served, BOB)
    for method, path in (("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("DELETE", "")):
        assert bob.http.request(method, f"/v1/jobs/{mine}{path}").status_code == 404
        assert httpx2.request(method, f"{served.url}/v1/jobs/{mine}{path}").status_code == 401
    assert bob.http.get("/v1/jobs").json()["data"] == []
    assert [job["id"] for job in ann.http.get("/v1/jobs").json()["data"]] == [mine]
    assert ann.job(mine)["status"] in ("queued", "in_progress")


def test_a_cancelled_job_stops_and_frees_the_model(ann: Caller, served: Served) -> None:
    long = ann.begin(steps=LONG, n=4).json()["id"]
    while ann.job(long)["progress"] == 0:
        time.sleep(0.02)
    early = ann.http.get(f"/v1/jobs/{long}/result")
    assert (early.status_code, early.json()["error"]["code"], early.headers["retry-after"]) == (409, "not_done", "2")
    assert ann.http.post(f"/v1/jobs/{long}/cancel").json()["status"] == "cancelled"
    began = time.monotonic()
    assert ann.over(ann.begin().json()["id"])["status"] == "completed"
    assert time.monotonic() - began < 10
    cancelled = ann.job(long)
    assert (cancelled["status"], cancelled["progress"] < 99) == ("cancelled", True)
    assert ann.http.get(f"/v1/jobs/{long}/result").json()["error"]["code"] == "cancelled"
    assert ann.http.post(f"/v1/jobs/{long}/cancel").json() == cancelled


def test_a_job_that_fails_answers_as_the_request_would_have(ann: Caller) -> None:
    bad = ann.begin(prompt="x" * 60).json()["id"]
    assert ann.over(bad)["status"] == "failed"
    answer = ann.http.get(f"/v1/jobs/{bad}/result")
    assert answer.status_code == 400
    assert answer.json()["error"] == ann.job(bad)["error"]
    assert answer.json()["error"]["code"] == "prompt_too_long"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [({"n": 9}, 400, "n"), ({"model": "dall-e-3"}, 404, "model"), ({"stream": True}, 400, "stream")],
)
def test_what_is_wrong_with_a_request_is_said_at_once(
    ann: Caller, body: dict[str, Any], status: int, param: str
) -> None:
    answer = ann.begin(**body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_more_jobs_than_may_wait_are_refused(ann: Caller) -> None:
    begun = [ann.begin(steps=LONG) for _ in range(4)]
    assert [answer.status_code for answer in begun] == [202, 202, 202, 429]
    assert int(begun[-1].headers["retry-after"]) >= 1


def test_jobs_are_listed_page_by_page(ann: Caller) -> None:
    ids = [ann.over(ann.begin(seed=number).json()["id"])["id"] for number in range(3)]
    page = ann.http.get("/v1/jobs", params={"limit": 2}).json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = ann.http.get("/v1/jobs", params={"after": page["last_id"]}).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[:1], False)
    assert [job["id"] for job in ann.http.get("/v1/jobs", params={"order": "asc"}).json()["data"]] == ids
    assert ann.http.get("/v1/jobs", params={"after": "nobody"}).json()["error"]["param"] == "after"


def test_callers_that_cannot_be_told_apart_get_no_list(args: ServeArgs) -> None:
    with listening(args.model_copy(update={"allow_anonymous": True}), BrokenEngine(), Keys()) as url:
        assert httpx2.get(f"{url}/v1/jobs").status_code == 403


def test_jobs_and_urls_survive_the_process_that_keeps_them(args: ServeArgs, tmp_path: Path) -> None:
    """The second endpoint finds what the first has left: images behind URLs, answers, and a job that is not done."""
    kept = args.model_copy(update={"state_dir": str(tmp_path / "state"), "public_url": "https://images.example/api"})
    keys = Keys(frozenset({ANN}))
    with serving(kept, keys) as first:
        ann = Caller(first, ANN)
        done = ann.over(ann.begin(seed=1).json()["id"])["id"]
        answer = ann.http.get(f"/v1/jobs/{done}/result").json()
        url = post_with(ann, response_format="url").json()["data"][0]["url"]
        left = ann.begin(seed=2, steps=300).json()["id"]
        while ann.job(left)["progress"] == 0:
            time.sleep(0.02)
    assert url.startswith("https://images.example/api/v1/images/files/")
    with serving(kept, keys) as second:
        ann = Caller(second, ANN)
        assert ann.http.get(f"/v1/jobs/{done}/result").json() == answer
        assert httpx2.get(second.url + url.removeprefix("https://images.example/api")).status_code == 200
        again = ann.over(left)
        assert again["status"] == "completed"
        assert ann.http.get(f"/v1/jobs/{left}/result").json()["group"]["steps"] == 300
    assert ANN not in "".join(file.read_text() for file in (tmp_path / "state/jobs").iterdir())


def post_with(caller: Caller, **body: Any) -> httpx2.Response:
    return caller.http.post("/v1/images/generations", json={"prompt": "a red star", **body})
