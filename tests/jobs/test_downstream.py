"""The downstream job on the untrained embedded model, with an untrained oracle and a tiny scorer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs import downstream
from models.generator import Generator
from models.spec import Group
from pipelines.downstream import classifier, config
from tests.conftest import ROOT

TOML = """
output = "{folder}/out"
name = "<Worth> of pictures"
oracle = "{oracle}"
base = "stock | filter"
[model]
path = "{model}"
dtype = "float32"
[scorer]
model = "{clip}"
[sampling]
steps = 1
guidance_scale = 4.0
width = 64
height = 64
max_sequence_length = 0
[real]
pictures = 20
test_each = 2
reference_each = 6
concepts = 1
[made]
each = 6
drawn_each = 6
group_size = 2
[training]
seeds = [0, 1]
steps = 2
batch = 4
[[arms]]
name = "stock"
[[arms]]
name = "unguided"
guidance_scale = 1.0
tora = true
[[arms]]
name = "long"
guidance_scale = 1.0
expand = "uniform"
draw_times = 2
[[arms]]
name = "of no source"
sampling = {{ steps = 2 }}
[[sources]]
name = "nothing"
[[sources]]
name = "stock | filter"
arms = ["stock"]
judge = "score"
[[sources]]
name = "quota"
arms = ["stock", "unguided"]
judge = "margin"
choose = "quota"
[[sources]]
name = "long"
arms = ["long"]
[[sources]]
name = "real"
arms = ["real renders"]
"""


@pytest.fixture
def toml(tmp_path: Path, untrained: str, untrained_oracle: Path, tiny_clip: str) -> Path:
    path = tmp_path / "downstream.toml"
    path.write_text(TOML.format(folder=tmp_path, oracle=untrained_oracle, model=untrained, clip=tiny_clip))
    return path


def test_report_page_and_figure_and_a_second_run_that_makes_nothing(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Group] = []
    generate = Generator.generate

    def seen(self: Generator, groups: Sequence[Group]) -> list[NDArray[np.uint8]]:
        drawn.extend(groups)
        return generate(self, groups)

    monkeypatch.setattr(Generator, "generate", seen)
    assert downstream.main(["--config", str(toml)]) == 0
    out = tmp_path / "out"
    assert {group.sampling.steps for group in drawn} == {1}  # an arm that no source names draws nothing
    longer = [group for group in drawn if " on " in group.prompt]  # which names a background
    assert len(longer) == 3 * 12
    assert {len(group.seeds) for group in longer} == {1}
    result = json.loads((out / "report.json").read_text())
    assert result["concepts"] == {"head": 2, "tail": 2, "never seen": 1, "tail and never seen": 3}
    for sources in result["compared"].values():
        by_name = {one["source"]: one for one in sources}
        assert list(by_name) == ["nothing", "stock | filter", "quota", "long", "real"]
        assert "difference" not in by_name["stock | filter"] or by_name["stock | filter"]["difference"] is None
        assert by_name["nothing"]["difference"]["tail"]["low"] <= by_name["nothing"]["difference"]["tail"]["high"]
        assert by_name["nothing"]["pictures_each"] == 0
        assert by_name["real"]["passes_each"] == 0
    numbers, cost = (
        {one["source"]: one for one in result["compared"][basis]} for basis in ("equal numbers", "equal cost")
    )
    assert {one["pictures_each"] for one in numbers.values()} == {0.0, 6.0}
    assert 0 <= numbers["real"]["coverage"]["mean"] <= 1
    assert cost["stock | filter"]["passes_each"] == 6 * 2  # with guidance a picture takes two passes
    assert cost["quota"]["passes_each"] <= 6 * 2
    assert cost["long"]["passes_each"] == cost["long"]["pictures_each"] == 12

    table = (out / "report.md").read_text()
    rows = [line.count("|") for line in table.splitlines() if line.startswith("|")]
    assert rows == [11] * (2 * 7)
    page = (out / "report.html").read_text()
    assert "<Worth>" not in page
    assert all(part in page for part in ("&lt;Worth&gt;", "data:image/png", "At equal cost", "<svg"))
    figure = ElementTree.fromstring((out / "figure.svg").read_text())
    assert len(figure.findall(".//{*}circle")) == 2 * 5

    one = ["--config", str(toml), "--set", 'bases=["equal numbers"]']
    assert downstream.main(one) == 0
    few = (out / "report.md").read_text()
    assert few.split("## At equal numbers")[1] == table.split("## At equal numbers")[1]
    assert "cost" not in few
    assert "made ones, at equal numbers" in (out / "figure.svg").read_text()

    assert downstream.main(["--config", str(toml)]) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    monkeypatch.setattr(Generator, "__init__", lambda *_: pytest.fail("all pictures are there"))
    monkeypatch.setattr(classifier, "train", lambda *_: pytest.fail("all trainings are there"))
    assert downstream.main(["--config", str(toml)]) == 0
    assert first == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_wrong_input_is_named(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, words in (
        ("model.path=/missing", "model.path: /missing/model_index.json does not exist"),
        ('model.loras=[{name = "turbo", path = "/missing"}]', "model.loras.turbo: /missing does not exist"),
        ("made.drawn_each=7", "drawn_each = 7"),
        ("made.similarity=0", "similarity = 0.0 is out of range: needs more than 0, at most 1"),
        ("base=stok", "base = 'stok' is out of range: needs the name of a source"),
        ("scorer.kind=aesthetic", "needs a kind that gives image vectors"),
    ):
        assert downstream.main(["--config", str(toml), "--set", change]) == 2
        assert words in capsys.readouterr().err
    toml.write_text(toml.read_text().replace('"stock", "unguided"', '"stock", "ungided"'))
    assert downstream.main(["--config", str(toml)]) == 2
    assert "'quota' needs names of arms (long, of no source, stock, unguided)" in capsys.readouterr().err
    toml.write_text(toml.read_text().replace('"stock", "ungided"', '"stock"').replace("steps = 2 }", "step = 2 }"))
    assert downstream.main(["--config", str(toml)]) == 2
    assert "table [arms[3].sampling]: unknown key 'step'" in capsys.readouterr().err


def test_the_shipped_config() -> None:
    loaded = config.load(ROOT / "jobs" / "configs" / "downstream.toml")
    assert [source.name for source in loaded.sources][:3] == ["nothing", "stock", loaded.base]
    few = config.quick(loaded)
    assert few.output == "out/downstream-quick"
    assert few.sources == loaded.sources
