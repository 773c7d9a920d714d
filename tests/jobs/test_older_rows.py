"""A finished run of the row contract before: it is exported, scored and replayed, but not gone on with.

`tests/support/version2` is such a run, as the release of then wrote it: the tiny pipeline, one prompt, two arms.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import replay
from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset import schema
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import rescore, run_record
from pipelines.flows.rescore import RescoreConfig
from tests.conftest import ROOT, Configure
from tests.support.exports import export
from tests.support.job import make_inline

VERSION2 = ROOT / "tests" / "support" / "version2"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VERSION2, tmp_path / "older"))


def rows(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.rglob("*.parquet"))])


def test_the_fixture_is_of_the_version_before() -> None:
    file = pq.read_schema(VERSION2 / "data" / "shard-000000.parquet")
    assert schema.version_of(file) == 2
    assert {"displacement", "encoders"}.isdisjoint({*file.names, *(one.name for one in file.field("tora").type)})


def test_it_is_made_again(older: Path, tiny_pipeline: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To within what another processor and other libraries round in another way."""
    words = ["--dataset", str(older), "--sample", "0", "--device", "cpu", "--model", tiny_pipeline, "--min-psnr", "30"]
    assert replay.main(words) == 0
    assert capsys.readouterr().out == "4 images made again, 4 within 30 dB, 0 not\n"


def test_it_is_exported_with_its_own_version_and_scored(older: Path, tiny_clip: str, tmp_path: Path) -> None:
    run = open_finished(Storage.open(older))
    config = RescoreConfig(scoring=checked(Scoring(model=tiny_clip)))
    rescore.claim(run, "again", config)
    pending = rescore.pending_shards(run, "again")
    made = make_inline(pending, rescore.stages(run, "again", config, Tracker([*rescore.STAGES])))
    assert [row["images"] for row in made] == [4]
    rescore.claim(run, "again", config)  # the same scores go on
    assert export(older, tmp_path / "tars", "webdataset", "--rejected") == 0
    assert export(older, tmp_path / "hub", "huggingface", "--rejected") == 0
    assert "Row schema version 2." in (tmp_path / "hub" / "README.md").read_text()
    exported = rows(tmp_path / "hub")
    assert exported.num_rows == 4
    assert schema.version_of(exported.schema) == 2
    assert exported["again_clip_score"].null_count == 0
    assert "displacement" not in exported.column_names


def test_it_is_not_gone_on_with(older: Path, configure: Configure) -> None:
    """Its rows would lack a column."""
    config = configure()
    with pytest.raises(UserError, match=r"version 2 of the row contract.*those of version 4.*release that began"):
        run_record.claim(config, run_record.plan_inputs(config), Storage.open(older))
