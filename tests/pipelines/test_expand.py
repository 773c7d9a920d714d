"""Prompts from a language model: asked once, over a real socket that fails in every way, and kept with the run."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models import chat
from pipelines.config.fingerprint import fingerprint
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import dry_run
from pipelines.flows.synth import _planned
from pipelines.plan.files import FAILED_PROMPTS, read_shard
from pipelines.plan.write import count_plan, write_plan
from tests.conftest import ROOT, Configure
from tests.support.language_model import KEY, Model, started


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.setattr(chat, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("LLM_KEY", KEY)
    with started(Model()) as model:
        yield model


@pytest.fixture
def expanding(configure: Configure, tmp_path: Path, model: Model) -> Any:
    """A config whose prompts are expanded by `model`."""

    def config(*prompts: str, **changes: Any) -> Any:
        rows = [{"prompt": prompt, "rarity": "rare", "counterfactual": f"{prompt}?"} for prompt in prompts]
        (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
        table = {"base_url": model.url, "model": "m", "key_variable": "LLM_KEY", "count": 2, "tries": 3, **changes}
        return configure(prompts={"path": str(tmp_path / "p.jsonl"), "expand": table})

    return config


def planned(output: Storage, counts: Any) -> list[dict[str, Any]]:
    tables = [read_shard(output, shard) for shard in counts.shard_numbers()]
    columns = ["prompt", "concept", "rarity", "counterfactual"]
    return [*pa.concat_tables(tables).select(columns).to_pylist()]


def failures(output: Storage) -> dict[str, str]:
    rows = pq.read_table(output.path(FAILED_PROMPTS)).to_pylist()
    return {row["prompt"]: f"{row['error_type']} {row['attempts']}: {row['error']}" for row in rows}


def bytes_of(output: Storage) -> dict[str, bytes]:
    found = sorted(Path(output.uri).rglob("*.*"))
    return {str(file.relative_to(output.uri)): file.read_bytes() for file in found if file.is_file()}


def test_a_prompt_becomes_several_with_itself_as_concept(expanding: Any, tmp_path: Path, model: Model) -> None:
    output = Storage.open(tmp_path / "out")
    config = expanding("a cat", "a dog", options={"temperature": 0.5})
    assert planned(output, write_plan(config, output)) == [
        {"prompt": prompt + place, "concept": prompt, "rarity": "rare", "counterfactual": f"{prompt}?{place}"}
        for prompt in ("a cat", "a dog")
        for place in ("", " at home", " at sea")
    ]
    assert model.keys == {f"Bearer {KEY}"}
    assert all(request["temperature"] == 0.5 and request["model"] == "m" for request in model.requests)
    assert not any(KEY.encode() in data for data in bytes_of(output).values())
    without = Storage.open(tmp_path / "without")
    rows = planned(without, write_plan(expanding("a cat", keep_original=False), without))
    assert [row["prompt"] for row in rows] == ["a cat at home", "a cat at sea"]


def test_nothing_is_asked_twice_and_bytes_are_equal(expanding: Any, tmp_path: Path, model: Model) -> None:
    output, other = Storage.open(tmp_path / "out"), Storage.open(tmp_path / "other")
    prompts = [f"a cat {number}" for number in range(20)]
    first = write_plan(expanding(*prompts, concurrency=3), output)
    assert set(model.asked.values()) == {1}
    assert 1 < model.most_at_once <= 3
    kept = bytes_of(output)
    assert (
        write_plan(expanding(*prompts, concurrency=3), output) == first
    )  # as after a kill before run.json was written
    assert bytes_of(output) == kept
    grown = write_plan(expanding(*prompts, "a dog"), output, first)
    assert grown.prompts == first.prompts + 3
    assert (model.asked["a dog"], model.asked.total()) == (1, 21)
    write_plan(expanding(*prompts, concurrency=1), other)
    assert bytes_of(other) == kept
    assert model.asked.total() == 41


def test_prompts_of_a_template_are_not_written_again(configure: Configure, tmp_path: Path, model: Model) -> None:
    model.faults = {"a cat": ['["a dog", "a cat at home"]']}
    template = {"text": "a {x}", "slots": {"x": ["cat", "dog"]}}
    expand = {"base_url": model.url, "model": "m", "count": 2}
    output = Storage.open(tmp_path / "out")
    counts = write_plan(configure(prompts={"template": template, "expand": expand}), output)
    texts = [row["prompt"] for row in planned(output, counts)]
    assert texts == ["a cat", "a cat at home", "a dog", "a dog at home", "a dog at sea"]
    assert (counts.dropped, counts.bad_prompts) == (1, 0)


def test_what_fails_is_tried_again_and_then_a_row(expanding: Any, tmp_path: Path, model: Model) -> None:
    model.faults = {
        "a busy one": [429, 503, '["a busy street"]'],
        "a cut one": ["hangs up", "no JSON", "1. a cut rose\n2. a cut one"],
        "a slow one": ["stalls"],
        "a silent one": ["", "<think>hm", "[]"],
        "a bad one": ["I'm sorry, I can't help with that."] * 3,
        "a wrong one": [400],
        "a lost one": [500] * 3,
    }
    output = Storage.open(tmp_path / "out")
    config = expanding("a cat", *model.faults, timeout_s=0.4, concurrency=2)
    counts = write_plan(config, output)
    busy, still_busy, _ = model.times["a busy one"]
    assert still_busy - busy >= 0.2  # as Retry-After asks
    texts = [row["prompt"] for row in planned(output, counts)]
    assert {"a busy street", "a cut rose", "a slow one at sea", "a silent one", "a lost one"} < {*texts}
    assert texts.count("a cut one") == 1
    said = failures(output)
    assert {*said} == {"a silent one", "a bad one", "a wrong one", "a lost one"}
    assert said["a wrong one"] == 'NoAnswer 1: HTTP 400: {"error": "no, ***!"}'
    assert said["a lost one"].startswith("EndpointFailed 3: HTTP 500")
    assert said["a bad one"].startswith("NoAnswer 3: the model refuses")
    assert said["a silent one"].startswith("NoAnswer 3: the answer has no text of its own: '[]'")


def test_what_failed_is_asked_again_on_request(expanding: Any, tmp_path: Path, model: Model) -> None:
    output = Storage.open(tmp_path / "out")
    config = expanding("a cat", "a dog")
    model.faults = {"a dog": [400]}
    first = _planned(config, output)
    assert (first.prompts, first.bad_prompts) == (4, 1)
    assert _planned(config, output) == first
    assert model.asked == {"a cat": 1, "a dog": 1}
    again = _planned(config, output, again=True)
    assert (again.prompts, again.bad_prompts) == (6, 0)
    assert model.asked == {"a cat": 1, "a dog": 2}
    assert not output.exists(FAILED_PROMPTS)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "the key is wrong or missing"), (404, "there is no such address or model")]
)
def test_what_no_prompt_can_help_ends_the_run(
    status: int, words: str, expanding: Any, tmp_path: Path, model: Model
) -> None:
    model.faults = {"a dog": [status]}
    output = Storage.open(tmp_path / "out")
    with pytest.raises(UserError, match=f"{words}.*key in LLM_KEY") as raised:
        write_plan(expanding("a cat", "a dog"), output)
    assert KEY not in str(raised.value)
    write_plan(expanding("a cat", "a dog"), output)
    assert model.asked == {"a cat": 1, "a dog": 2}  # the answer that came was kept


def test_an_endpoint_that_fails_for_every_prompt_ends_the_run(expanding: Any, tmp_path: Path, model: Model) -> None:
    prompts = [f"a cat {number}" for number in range(40)]
    model.faults = {prompt: [500] for prompt in prompts[1:]}
    output = Storage.open(tmp_path / "out")
    with pytest.raises(UserError, match=r"failed for 20 prompts in a row, last with HTTP 500.* the same command"):
        write_plan(expanding(*prompts, tries=1, concurrency=1), output)
    assert model.asked.total() < 40
    model.faults = {}
    assert write_plan(expanding(*prompts), output).prompts == 40 * 3
    assert model.asked["a cat 0"] == 1


def test_a_key_that_is_none_is_named(expanding: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", "sk-\u2026")
    with pytest.raises(UserError, match="LLM_KEY: the key in it has letters"):
        write_plan(expanding("a cat"), Storage.open(tmp_path / "out"))


def test_an_endpoint_that_is_not_there_is_named(expanding: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"nothing answers at {url}/chat/completions.*the same command again"):
        write_plan(expanding("a cat", base_url=url), Storage.open(tmp_path / "out"))


def test_a_dry_run_asks_nobody_and_says_how_often_it_would(expanding: Any, tmp_path: Path, model: Model) -> None:
    write_plan(expanding("a cat"), Storage.open(tmp_path / "out"))
    (tmp_path / "out" / "run.json").write_text("{}")
    config = expanding("a cat", "a dog", "a dog")
    asked = model.asked.total()
    assert count_plan(config).prompts == 2 * 3
    embedded = {"path": str(ROOT / "models/embedded/weights/pipeline")}
    clip = {"model": f"local-dir:{ROOT}/models/embedded/weights/clip"}
    tables = {"run": {"output": str(tmp_path / "out")}, "model": embedded, "scoring": clip}
    said = dry_run.describe(configure_with(config, tables))
    assert f"\nexpand   1 requests to m at {model.url}, for 2 prompts each\n" in said
    assert model.asked.total() == asked


def configure_with(config: Any, tables: dict[str, Any]) -> Any:
    from tests.conftest import build

    table = config.to_dict()["prompts"]
    return build(**tables, prompts={"path": table["path"], "expand": table["expand"]})


def test_rows_of_one_text_with_settings_of_their_own_are_asked_for_once(
    configure: Configure, tmp_path: Path, model: Model
) -> None:
    rows = [{"prompt": "a dot", "steps": steps} for steps in (4, 8, 0)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model.faults["a dot"] = ['["a dot here", "a dot there"]', '["a dot up", "a dot down"]']  # no answer is like another
    table = {"base_url": model.url, "model": "m", "count": 2}
    config = configure(
        prompts={"path": str(tmp_path / "p.jsonl"), "expand": table},
        run={"output": str(tmp_path / "out")},
        model={"path": str(ROOT / "models/embedded/weights/pipeline")},
        scoring={"model": f"local-dir:{ROOT}/models/embedded/weights/clip"},
    )
    assert "expand   1 requests" in dry_run.describe(config)
    output = Storage.open(tmp_path / "out")
    counts = write_plan(config, output)
    texts = Counter(row["prompt"] for row in planned(output, counts))
    assert texts == dict.fromkeys(("a dot", "a dot here", "a dot there"), 2 * len(config.arms))
    assert model.asked == {"a dot": 1}
    assert counts.bad_prompts == 1


def test_what_is_asked_is_part_of_a_run_and_where_is_not(configure: Configure, expanding: Any) -> None:
    first = fingerprint(expanding("a cat"))
    places = {"base_url": "https://elsewhere/v1", "key_variable": "X", "concurrency": 1, "timeout_s": 1.0, "tries": 1}
    assert fingerprint(expanding("a cat", **places)) == first
    others: list[dict[str, Any]] = [{"model": "other"}, {"count": 3}, {"kind": "paraphrases"}, {"options": {"seed": 1}}]
    assert len({first, fingerprint(configure()), *(fingerprint(expanding("a", **one)) for one in others)}) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "http://user:pw@host"}, "base_url = 'host' is out of range: needs http://"),
        ({"base_url": "host/v1"}, "base_url = None is out of range"),
        ({"base_url": "http://host:99999/v1"}, "Port out of range"),
        ({"count": 0}, "count = 0 is out of range"),
        ({"options": {"messages": []}}, "options = 'messages' is out of range: is set by"),
        ({"instruction": "Say {promt}"}, r"knows {prompt} and {n} only"),
        ({"instruction": "Say {n} things"}, r"needs {prompt}"),
        ({"api_key": "x"}, "unknown key 'api_key'"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, Any], words: str, expanding: Any) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        expanding("a cat", **changes)
