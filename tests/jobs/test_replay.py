"""Rows made again from themselves are the rows, and rows that say something else are found out."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from jobs.replay import main
from models.loading.revision import content_revision
from pipelines.config.tables import GroupSize, RayOptions
from pipelines.dataset.setting_columns import MODEL_OPTIONS
from pipelines.flows.replay import Origin, model_of
from tests.conftest import Configure
from tests.support.job import PLAIN, rows, run_inline, write_job

_LOADED = [
    "model.weights=float8",
    "model.vae_tiling=true",
    "model.scheduler=FlowMatchHeunDiscreteScheduler",
    "sampling.sigmas=[0.9, 0.3]",
    'model.drop=["text_encoder_3"]',
    "ray.gpus_per_replica=2",
]
Out = pytest.CaptureFixture[str]
OWN = {
    "negative_prompt": "a sun",
    "steps": 3,
    "guidance_scale": 2.5,
    "width": 24,
    "height": 32,
    "max_sequence_length": 20,
    "sigma": 1.6,
    "strength": 0.3,
    "seed": 77,
    "images": 4,
}
LINES_WITH_SETTINGS = [
    {"prompt": "a red square"},
    {"prompt": "a star", **OWN},
    {"prompt": "a dot", "frames": 5},
    {"prompt": "a sun", "width": 17},
    {"prompt": "a heart"},
    {"prompt": "a drop", **OWN},
]


def test_rows_are_made_again_from_themselves(undisturbed: Path, capsys: Out) -> None:
    replay = ["--dataset", str(undisturbed), "--device", "cpu"]
    assert main([*replay, "--sample", "0"]) == 0
    assert capsys.readouterr().out == "48 images made again, 48 identical, 0 not\n"
    group = rows(undisturbed / "data", "group_id")[0][0]
    assert main([*replay, "--group", group]) == 0
    assert capsys.readouterr().out.startswith("3 images made again, 3 identical")


def test_rows_of_every_setting_are_made_and_made_again(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: Out
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, LINES_WITH_SETTINGS)
    out = tmp_path / "out"
    summary = run_inline(tmp_path)
    assert (summary.images_kept, summary.groups_failed, summary.complete) == (2 * (3 + 4 + 3 + 4), 4, True)
    columns = "negative_prompt, steps, guidance_scale, width, height, max_sequence_length"
    own = rows(out / "data", f"distinct {columns}, tora.sigma, repulsion.strength")
    assert [row for row in own if row[0]] == [
        ("a sun", 3, 2.5, 24, 32, 20, sigma, strength) for sigma, strength in ((1.6, 0.3), (None, None))
    ]
    made = rows(out / "data", "prompt, arm, group_size, index_in_group, seed")
    assert [row[2:4] for row in made if row[:2] == ("a star", "both")] == [(1, 0), (3, 0), (3, 1), (3, 2)]
    assert {row[4] for row in made if row[0] == "a star" and row[2:4] == (3, 0)} == {77}
    failed = dict(rows(out / "failed", "prompt, error"))
    assert "sampling.frames = 5: sd3 needs 1" in failed["a dot"]
    assert "sampling.width = 17" in failed["a sun"]
    assert main(["--dataset", str(out), "--device", "cpu", "--sample", "0"]) == 0
    assert capsys.readouterr().out == "28 images made again, 28 identical, 0 not\n"
    again = run_inline(tmp_path, retry_failed=True)
    assert (again.images_kept, again.groups_failed, again.complete) == (28, 4, True)


@pytest.mark.parametrize("setting", _LOADED)
def test_so_are_those_of_a_run_with_another_model_or_sampling(
    setting: str, tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: Out
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    assert run_inline(tmp_path, setting, "sampling.width=32", "sampling.height=32").complete
    assert main(["--dataset", str(tmp_path / "out"), "--sample", "0", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "12 images made again, 12 identical, 0 not\n"


def test_so_are_those_of_arms_that_differ_in_steps_and_guidance(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: Out
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    arms = 'arms=[{name="stock"}, {name="few", sampling={steps=1, guidance_scale=1}}]'
    assert run_inline(tmp_path, arms).complete
    assert rows(tmp_path / "out" / "data", "distinct arm, steps, guidance_scale") == [
        ("few", 1, 1.0),
        ("stock", 2, 4.0),
    ]
    assert main(["--dataset", str(tmp_path / "out"), "--sample", "0", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "12 images made again, 12 identical, 0 not\n"


def test_so_are_those_of_a_transformer_from_a_file_of_its_own(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: Out
) -> None:
    (own,) = (Path(tiny_pipeline) / "transformer").glob("*.safetensors")
    weights = load_file(own)
    save_file({**weights, "proj_out.weight": weights["proj_out.weight"] * 2}, tmp_path / "strong.safetensors")
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    assert run_inline(tmp_path, f"model.transformer_file={tmp_path / 'strong.safetensors'}").complete
    revision = content_revision(tmp_path / "strong.safetensors")
    assert rows(tmp_path / "out" / "data", "distinct model_options.transformer_file_revision") == [(revision,)]
    again = ["--dataset", str(tmp_path / "out"), "--sample", "0", "--device", "cpu"]
    assert main(again) == 0
    assert capsys.readouterr().out == "12 images made again, 12 identical, 0 not\n"
    save_file(weights, tmp_path / "strong.safetensors")
    assert main(again) == 2
    assert f"the run was planned with {revision}" in capsys.readouterr().err


def test_a_row_says_how_its_model_was_loaded(configure: Configure, tmp_path: Path) -> None:
    parts = [{"part": "transformer", "method": "torchao-int8"}, {"part": "text_encoder", "method": "bitsandbytes-nf4"}]
    loaded = {"dtype": "bfloat16", "drop": ["text_encoder_3"], "quantize": parts, "variant": "fp16", "shift": 3.0}
    spec = configure(model={"path": "owner/model", "revision": "v1", **loaded}).model
    options = {field.name: getattr(spec, field.name) for field in MODEL_OPTIONS}
    plain = {name: [asdict(spec)[name]] for name in ("dtype",)} | {"model": ["owner/model"], "model_revision": ["v1"]}
    stored = pa.array([{**options, "quantize": parts}], MODEL_OPTIONS)
    row = pa.table({**plain, "model_options": stored})
    made_by = Origin(
        same_versions=True, offload="none", loras=(), ray=RayOptions(), group=GroupSize(), guided=True, plugins=()
    )
    assert model_of(row, device="auto", made_by=made_by) == spec


def test_a_cpu_needs_no_offload(undisturbed: Path, tmp_path: Path, capsys: Out) -> None:
    """The run was made on GPUs with models moved between them and CPUs, it says."""
    copy = Path(shutil.copytree(undisturbed, tmp_path / "copy"))
    record = json.loads((copy / "run.json").read_bytes())
    record["config"]["model"]["offload"] = "model"
    (copy / "run.json").write_text(json.dumps(record))
    assert main(["--dataset", str(copy), "--sample", "1", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "3 images made again, 3 identical, 0 not\n"


def test_a_row_that_says_another_seed_is_found_out(undisturbed: Path, tmp_path: Path, capsys: Out) -> None:
    forged = Path(shutil.copytree(undisturbed, tmp_path / "forged"))
    path = forged / "data" / "shard-000000.parquet"
    table = pq.read_table(path)
    seeds = [[seed + 1 for seed in row["group_seeds"]] for row in table.select(["group_seeds"]).to_pylist()]
    at = table.schema.get_field_index("group_seeds")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(seeds, pa.list_(pa.int64()))), path)
    assert main(["--dataset", str(forged), "--sample", "0", "--device", "cpu"]) == 1
    assert "differs, in its file by up to" in capsys.readouterr().err


def test_an_image_that_is_none_is_named(undisturbed: Path, tmp_path: Path, capsys: Out) -> None:
    damaged = Path(shutil.copytree(undisturbed, tmp_path / "damaged"))
    path = damaged / "data" / "shard-000000.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("image")
    for value in ({"bytes": b"no picture", "path": "a.png"}, None):
        column = pa.array([value] * table.num_rows, table.schema.field(at).type)
        pq.write_table(table.set_column(at, table.schema.field(at), column), path)
        group = table["group_id"][0].as_py()
        assert main(["--dataset", str(damaged), "--group", str(group), "--device", "cpu"]) == 2
        assert f"{damaged}: the image {table['image_id'][0]} cannot be read" in capsys.readouterr().err


def test_what_cannot_be_replayed_is_said(undisturbed: Path, tmp_path: Path, capsys: Out) -> None:
    assert main(["--dataset", str(undisturbed), "--device", "cpu", "--group", "none"]) == 2
    assert "holds no group 'none'" in capsys.readouterr().err
    assert main(["--dataset", str(tmp_path)]) == 2
    assert "has no run.json" in capsys.readouterr().err
    older = Path(shutil.copytree(undisturbed, tmp_path / "older"))
    record = json.loads((older / "run.json").read_bytes())
    (older / "run.json").write_text(json.dumps({**record, "schema_version": 1}))
    assert main(["--dataset", str(older)]) == 2
    assert "version 1 of the row contract" in capsys.readouterr().err
