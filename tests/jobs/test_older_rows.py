"""Finished runs of the row contracts before: they are exported, scored and replayed, but not gone on with.

`tests/support/version2` and `version3` are such runs, as the releases of then wrote them: the tiny pipeline, one
prompt, two arms.
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

VERSIONS = {
    2: {"displacement", "loras", "prompt_changes", "tokens_cut"},
    3: {"prompt_changes", "tokens_cut"},
}
"""Version -> columns of today that its rows do not have."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def older(version: int, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests" / "support" / f"version{version}", tmp_path / "older"))


def rows(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.rglob("*.parquet"))])


def test_the_fixture_is_of_a_version_before(older: Path, version: int, configure: Configure) -> None:
    file = pq.read_schema(older / "data" / "shard-000000.parquet")
    assert schema.version_of(file) == version
    lacks = {*configure().columns(1).names} - {*file.names}
    assert VERSIONS[version] <= lacks
    assert {"displacement", "loras"}.isdisjoint(lacks) == (version > 2)


def test_every_version_that_is_read_has_a_fixture() -> None:
    assert {*schema.READABLE} == {*VERSIONS, schema.VERSION}


def test_it_is_made_again(older: Path, tiny_pipeline: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To within what another processor and other libraries round in another way."""
    words = ["--dataset", str(older), "--sample", "0", "--device", "cpu", "--model", tiny_pipeline, "--min-psnr", "30"]
    assert replay.main(words) == 0
    assert capsys.readouterr().out == "4 images made again, 4 within 30 dB, 0 not\n"


def test_it_is_exported_with_its_own_version_and_scored(
    older: Path, version: int, tiny_clip: str, tmp_path: Path
) -> None:
    run = open_finished(Storage.open(older))
    config = RescoreConfig(scoring=checked(Scoring(model=tiny_clip)))
    rescore.claim(run, "again", config)
    pending = rescore.pending_shards(run, "again")
    made = make_inline(pending, rescore.stages(run, "again", config, Tracker([*rescore.STAGES])))
    assert [row["images"] for row in made] == [4]
    rescore.claim(run, "again", config)  # the same scores go on
    assert export(older, tmp_path / "tars", "webdataset", "--rejected") == 0
    assert export(older, tmp_path / "hub", "huggingface", "--rejected") == 0
    assert f"Row schema version {version}." in (tmp_path / "hub" / "README.md").read_text()
    exported = rows(tmp_path / "hub")
    assert exported.num_rows == 4
    assert schema.version_of(exported.schema) == version
    assert exported["again_clip_score"].null_count == 0
    assert VERSIONS[version].isdisjoint(exported.column_names)


def test_it_is_not_gone_on_with(older: Path, version: int, configure: Configure) -> None:
    """Its rows would lack a column."""
    config = configure()
    with pytest.raises(UserError, match=rf"version {version} of the row .*those of version 4.*release that began"):
        run_record.claim(config, run_record.plan_inputs(config), Storage.open(older))
