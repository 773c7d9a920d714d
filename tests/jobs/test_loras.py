"""A run whose arms have LoRAs of their own: in the plan, in the rows, and replayed from them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import replay
from models.loading.revision import content_revision
from pipelines.config.fingerprint import fingerprint
from pipelines.config.load import load
from pipelines.errors import UserError
from pipelines.flows import preflight
from tests.conftest import Configure
from tests.support import loras
from tests.support.job import PLAIN, rows, run_inline, write_job

ARMS = (
    'arms=[{name="stock", loras=[]}, {name="ink", loras=["ink"], tora=true}, '
    '{name="pale", loras=[{name="ink", scale=0.25}]}, {name="all"}]'
)


@pytest.mark.skipif(find_spec("peft") is None, reason="LoRAs need the package peft")
def test_a_list_of_them_is_swept_in_one_run(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [loras.save(tmp_path / f"{name}.safetensors", seed=at) for at, name in enumerate(("ink", "clay"))]
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    listed = ", ".join(f'{{name="{file.stem}", path="{file}"}}' for file in files)
    assert run_inline(tmp_path, f"model.loras=[{listed}]", ARMS).complete
    data = tmp_path / "out" / "data"
    columns = "arm, list_transform(loras, lambda lora: [lora.name, lora.revision, lora.scale::text])"
    ink, clay = ([file.stem, content_revision(file)] for file in files)
    assert dict(rows(data, columns)) == {
        "stock": [],
        "ink": [[*ink, "1.0"]],
        "pale": [[*ink, "0.25"]],
        "all": [[*ink, "1.0"], [*clay, "1.0"]],
    }
    assert rows(data, "count(distinct image_id), count(distinct group_id)") == [(24, 8)]
    planned = pq.read_schema(next((tmp_path / "out" / "plan").iterdir()))
    assert planned.field("loras").type == pq.read_schema(next(data.iterdir())).field("loras").type
    assert replay.main(["--dataset", str(tmp_path / "out"), "--sample", "0", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "24 images made again, 24 identical, 0 not\n"


def test_an_arm_names_those_of_the_model(configure: Configure, tmp_path: Path) -> None:
    ink = {"name": "ink", "path": "owner/ink", "scale": 0.8}
    model = {"path": "owner/model", "loras": [ink]}
    plain = configure(model=model, arms=[{"name": "a"}])
    other = configure(model=model, arms=[{"name": "a", "loras": [{"name": "ink", "scale": 0.5}]}])
    assert len({fingerprint(plain), fingerprint(other), fingerprint(configure(arms=[{"name": "a"}]))}) == 3
    assert other.to_dict()["arms"][0]["loras"] == [{"name": "ink", "scale": 0.5}]
    for named, words in (
        (["oil"], r"arms\.a\.loras = \['oil'\].*\(there: ink\)"),
        (["ink", "ink"], "each once"),
        ("ink", r"arms\[0\]\.loras = 'ink': must be an array"),
        ([{"name": "ink", "weight": 2}], r"arms\[0\]\.loras\[0\].*unknown key 'weight'"),
    ):
        with pytest.raises(UserError, match=words):
            configure(model=model, arms=[{"name": "a", "loras": named}])
    with pytest.raises(UserError, match="name = 'a b'"):
        configure(model={"path": "owner/model", "loras": [{"name": "a b", "path": "x"}]})


def test_what_they_need_is_asked_for_before_a_model_is_loaded(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:1])
    gone = load(tmp_path / "run.toml", ['model.loras=[{name="ink", path="gone/away/ink.safetensors"}]'])
    monkeypatch.setattr("models.loading.packages.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"model\.loras needs the package peft, which is not installed: pip install"):
        preflight.check(gone)
    monkeypatch.setattr("models.loading.packages.find_spec", lambda name: name)
    with pytest.raises(UserError, match=r"model\.loras\.ink\.path = .*there is no such file"):
        preflight.check(gone)
    folder = load(tmp_path / "run.toml", [f'model.loras=[{{name="ink", path="{tmp_path}", weight_name="x"}}]'])
    with pytest.raises(UserError, match=r"model\.loras\.ink\.weight_name = 'x': .* has no such file"):
        preflight.check(folder)
