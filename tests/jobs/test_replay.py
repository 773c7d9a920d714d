"""Rows made again from themselves are the rows, and rows that say something else are found out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.replay import main
from tests.support.job import PLAIN, rows, run_inline, write_job

Out = pytest.CaptureFixture[str]


def test_rows_are_made_again_from_themselves(undisturbed: Path, capsys: Out) -> None:
    replay = ["--dataset", str(undisturbed), "--device", "cpu"]
    assert main([*replay, "--sample", "0"]) == 0
    assert capsys.readouterr().out == "48 images made again, 48 identical, 0 not\n"
    group = rows(undisturbed / "data", "group_id")[0][0]
    assert main([*replay, "--group", group]) == 0
    assert capsys.readouterr().out.startswith("3 images made again, 3 identical")


@pytest.mark.parametrize("setting", ["model.weights=float8", "model.vae_tiling=true", "ray.gpus_per_replica=2"])
def test_so_are_those_of_a_model_loaded_in_another_way(
    setting: str, tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: Out
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    assert run_inline(tmp_path, setting, "sampling.width=32", "sampling.height=32").complete
    assert main(["--dataset", str(tmp_path / "out"), "--sample", "0", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "12 images made again, 12 identical, 0 not\n"


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
    assert "differs by up to" in capsys.readouterr().err


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
