"""The main job end to end: real Ray, a real SD3 pipeline and a real open_clip model at toy size, real files."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import s3fs
from PIL import Image

from jobs import mine
from models.generator import Generator
from models.spec import ModelSpec
from pipelines.dataset.images import decode
from pipelines.dataset.schema import scored
from pipelines.dataset.storage import Storage
from pipelines.plan.groups import groups_of
from tests.conftest import PROMPTS, ROOT, user_env
from tests.support.job import Synth, files_of, run_inline, write_job


@pytest.fixture
def synth(tmp_path: Path, tiny_pipeline: str, tiny_clip: str, local_ray: None) -> Synth:
    return write_job(tmp_path, tiny_pipeline, tiny_clip)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_pipeline: str,
    tiny_clip: str,
    local_ray: None,
) -> Path:
    """Output folder of one finished run, by two generators, for tests that only look."""
    folder = tmp_path_factory.mktemp("finished")
    assert write_job(folder, tiny_pipeline, tiny_clip)("ray.generators=2", "ray.cpus_per_generator=0.5") == 0
    return folder / "out"


@pytest.fixture
def copied(finished: Path, synth: Synth, tmp_path: Path) -> Path:
    """A copy of the finished run, where `synth` would write."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def query(sql: str) -> list[Any]:
    return duckdb.connect().execute(sql).fetchall()


def test_every_prompt_is_accounted_for(finished: Path) -> None:
    assert json.loads((finished / "manifest.json").read_bytes())["complete"]
    kept = pq.read_table(finished / "data")
    assert Counter(kept["prompt"].to_pylist()) == {"a red square": 6, "a star <b>": 6, "a dot": 6}
    failed = query(f"select stage, error_type, prompt from '{finished}/failed/*.parquet' order by all")
    assert failed == [
        ("generate", "PromptError", "x" * 40),
        ("generate", "PromptError", "x" * 40),
        ("plan", "EmptyPrompt", ""),
    ]


def test_rows_say_what_is_in_them(finished: Path, tiny_pipeline: str) -> None:
    table = pq.read_table(finished / "data")
    assert table.schema.equals(scored(16), check_metadata=False)
    rows = table.to_pylist()
    for row in rows:
        assert decode(row["image"]["bytes"]).shape == (16, 16, 3)
        assert (row["clip_margin"] is None) == (row["counterfactual"] is None)
        assert row["seed"] == row["group_seeds"][row["index_in_group"]]
        assert np.isclose(np.linalg.norm(np.array(row["embedding"], dtype=np.float64)), 1.0, atol=1e-2)
        assert (row["tora"] is None) == (row["arm"] == "stock")
    # The arms start from the same noise and end differently: the settings reach the model.
    image = {(row["prompt"], row["arm"], row["index_in_group"]): row for row in rows}
    stock, both = image["a dot", "stock", 0], image["a dot", "both", 0]
    assert stock["seed"] == both["seed"]
    assert stock["image_id"] != both["image_id"]
    # A row is enough to make its image again.
    groups = groups_of(pq.read_table(finished / "plan"))
    again = next(group for group in groups if group.prompt == "a dot" and group.interventions)
    pixels = Generator(ModelSpec(path=tiny_pipeline, dtype="float32")).generate([again])[0]
    difference = np.abs(pixels[0].astype(int) - decode(both["image"]["bytes"]).astype(int))
    assert difference.max() <= 1  # another batch shape may round another way


def test_readers_that_know_nothing_of_us(finished: Path, tmp_path: Path) -> None:
    files = f"{finished}/data/*.parquet"
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    assert isinstance(loaded[0]["image"], Image.Image)
    assert loaded[0]["image"].size == (16, 16)
    found = query(f"select rarity, avg(clip_score) from '{files}' group by rarity order by rarity")
    assert [rarity for rarity, _ in found] == ["common", "rare", None]
    assert all(-1.0 <= score <= 1.0 for _, score in found)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(copied: Path, tmp_path: Path) -> None:
    """Whatever the number of workers: the shard that is missing is made again in this process."""
    whole, manifest = files_of(copied), (copied / "manifest.json").read_bytes()
    # As a crash leaves it: a shard without its mark, and a file of a failure that will not come again.
    (copied / "data" / "shard-000002.parquet").unlink()
    (copied / "failed" / "shard-000002.parquet").write_bytes(b"half")
    assert run_inline(tmp_path).complete
    assert files_of(copied) == whole
    assert (copied / "manifest.json").read_bytes() == manifest


def test_a_crash_while_planning_plans_anew(synth: Synth, finished: Path, copied: Path) -> None:
    whole = files_of(copied)
    record = json.loads((copied / "run.json").read_bytes())
    (copied / "run.json").write_text(json.dumps({**record, "plan": None}))
    (copied / "plan" / "plan-000000.parquet").unlink()
    assert synth(f"prompts.path={finished.parent}/prompts.jsonl") == 0  # rows in failed/ name their file
    assert files_of(copied) == whole


def test_other_settings_are_refused(synth: Synth, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth("sampling.steps=3", "run.seed=2") == 2
    message = capsys.readouterr().err
    assert f"{copied}/run.json" in message
    assert "sampling.steps was 2 and is 3" in message
    assert "run.seed was 1 and is 2" in message


def test_selection_and_webp(finished: Path, tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip)
    assert run_inline(tmp_path, "selection.keep_per_group=1", "output.image_format=webp").complete
    kept, dropped = (pq.read_table(tmp_path / "out" / folder).to_pylist() for folder in ("data", "rejected"))
    assert Counter(row["group_id"] for row in kept) == dict.fromkeys({row["group_id"] for row in dropped}, 1)
    assert len(dropped) == 2 * len(kept)
    assert {row["drop_reason"] for row in dropped} <= {"rank", "duplicate"}
    assert all(row["keep"] and row["drop_reason"] is None for row in kept)

    lossless = {(row["group_id"], row["index_in_group"]): row for row in pq.read_table(finished / "data").to_pylist()}
    for row in [*kept, *dropped]:
        png = lossless[row["group_id"], row["index_in_group"]]
        assert Image.open(io.BytesIO(row["image"]["bytes"])).format == "WEBP"
        assert row["image"]["path"].endswith(".webp")
        assert row["image_id"] == png["image_id"]
        assert np.array_equal(decode(row["image"]["bytes"]), decode(png["image"]["bytes"]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.path=/gone/folder", ["model.path = '/gone/folder'"]),
        ("model.path=jobs", ["model_index.json"]),
        ("scoring.model=ViT-B-23", ["scoring.model = 'ViT-B-23'", "did you mean"]),
        ("scoring.model=local-dir:gone", ["local-dir:gone"]),
        ("prompts.path=gone.txt", ["gone.txt"]),
        ("prompts.columns.prompt=Text", ["no column 'Text'", "prompts.columns.prompt"]),
        ("run.output=/proc/none", ["/proc/none"]),
        ("run.output=ftp://x/y", ["ftp://x/y"]),
        ("ray.address=ray://head:10001", ["ray.address = 'ray://head:10001'", "Ray Client"]),
        ("output.groups_per_shard=100000", ["output.groups_per_shard = 100000", "2 GiB"]),
    ],
)
def test_what_can_be_known_is_said_before_a_model_loads(
    synth: Synth, override: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(override, *(["sampling.width=8192", "sampling.height=8192"] if "shard" in override else [])) == 2
    _, error, message = capsys.readouterr().err.partition("error: ")  # after the warning of an unknown model
    assert error
    assert all(word in message for word in words), message


def test_a_model_that_does_not_load_is_a_sentence(
    synth: Synth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    index = {"_class_name": "StableDiffusion3Pipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "broken" / "model_index.json").write_text(json.dumps(index))
    assert synth(f"model.path={tmp_path}/broken") == 2
    assert f"model.path = '{tmp_path}/broken'" in capsys.readouterr().err


def test_s3_in_and_out_from_the_command_line(
    synth: Synth,
    s3: Storage,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command as a user types it: it starts its own Ray, whose workers find S3 in the environment."""
    s3.write_bytes("in/prompts.jsonl", (tmp_path / "prompts.jsonl").read_bytes())
    places = (f"prompts.path={s3.uri}/in/*.jsonl", f"run.output={s3.uri}/out")
    words = [word for place in places for word in ("--set", place)]
    job = [sys.executable, "jobs/synth.py", "--config", str(tmp_path / "run.toml"), *words]
    done = subprocess.run(job, cwd=ROOT, env=user_env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"gallery: {s3.uri}/out/gallery.html")
    remote, local = Storage.open(f"{s3.uri}/out"), Storage.open(finished)
    assert json.loads(remote.read_bytes("manifest.json"))["complete"]
    assert remote.list("data") == local.list("data")
    with remote.open_input("data/shard-000000.parquet") as a, local.open_input("data/shard-000000.parquet") as b:
        columns = ["image_id", "prompt", "clip_score", "keep"]
        assert pq.read_table(a, columns=columns) == pq.read_table(b, columns=columns)

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-key")
    s3fs.S3FileSystem.clear_instance_cache()
    assert synth(*places) == 2
    refused = capsys.readouterr().err
    assert "\nerror: cannot" in refused
    assert "AWS_SECRET_ACCESS_KEY" in refused
    assert "wrong-key" not in refused


def test_dry_run_makes_nothing(synth: Synth, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(flags=["--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "8 of 3 images" in shown
    assert "24 of 16 x 16" in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the PartiPrompts file is not beside this checkout")
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_all_parti_prompts_are_accounted_for(synth: Synth, tmp_path: Path) -> None:
    """Through Ray; `test_inline.py` has its like without, in every run."""
    assert (
        synth(
            f"prompts.path={PROMPTS}/partiprompts/PartiPrompts.tsv",
            "prompts.columns={prompt='Prompt', concept='Category', rarity='Challenge'}",
            "arms=[{name='stock'}]",
            "group.size=1",
            "sampling.steps=1",
            "output.groups_per_shard=512",
            "group.groups_per_batch=32",
        )
        == 0
    )
    out = tmp_path / "out"
    counted = Counter(
        {
            folder: query(f"select count(distinct prompt) from '{out}/{folder}/*.parquet'")[0][0]
            for folder in ("data", "failed", "rejected")
            if (out / folder).is_dir()
        }
    )
    assert counted.total() == 1632
    assert counted["data"] > 0
    assert counted["failed"] > 0
    assert json.loads((out / "manifest.json").read_bytes())["complete"]


def test_captions_of_many_files_are_counted_by_workers(local_ray: None, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.csv").write_text("caption\n" + "a red frog\n" * 30 + f"a pink frog\na cat{number}\n")
    wanted = ["--rarity", "uncommon", "--object-mentions", "124"]
    assert mine.main(["--captions", f"{tmp_path}/?.csv", "--to", f"{tmp_path}/rare.jsonl", *wanted]) == 0
    (line,) = (tmp_path / "rare.jsonl").read_text().splitlines()
    assert json.loads(line).items() >= {"prompt": "a pink frog", "count": 4, "object_count": 124}.items()
