"""A format of prompts, a format of exports, a scorer and a family of models are one file and one line in a table each:
an entry that only this file knows works everywhere (for scorers see jobs/test_scorers.py), and nothing else lists their
names."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from jobs import export
from models import families
from models.errors import ModelError
from models.families.base import Family
from models.interventions.registry import registered
from models.scorers import registry
from pipelines.dataset.features import features_of
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export import formats as export_formats
from pipelines.export.formats.base import Beside, Written
from pipelines.export.formats.base import Format as ExportFormat
from pipelines.export.parts import Part
from pipelines.flows.finish import finish
from pipelines.prompts import formats as prompt_formats
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.formats.base import Format as PromptFormat
from pipelines.prompts.formats.base import Row
from pipelines.prompts.formats.lines import lines_of
from pipelines.prompts.rows import PromptRow
from pipelines.prompts.wanted import Wanted
from tests.conftest import ROOT, Configure
from tests.support.docs import GUIDES, README
from tests.support.toy_run import Toy, write_run

EXPORTS = GUIDES["pipelines/export/README.md"]


def shouted(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    for number, line in enumerate(lines_of(file, uri), start=1):
        yield number, {"prompt": line.upper()}


SHOUT = PromptFormat(name="shout", endings=(".shout",), read=shouted)


class Lines:
    """An export format: one line of text per image."""

    name = "lines"
    labelled = False
    videos = True

    def load(self, files: int, schema: pa.Schema) -> str:
        return f"Read {files} files, line by line.\n"

    def path(self, part: Part, number: int, count: int) -> str:
        return f"{part.name}-{number}.txt"

    def pattern(self, part: Part) -> str:
        return f"{part.name}-*.txt"

    def room(self, file_bytes: int) -> int:
        return file_bytes

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        return np.full(rows.num_rows, 100, np.int64)

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, beside: Beside) -> None:
        for table in tables:
            file.writelines(f"{prompt}\n".encode() for prompt in table["prompt"].to_pylist())

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        return {"text": features_of(schema)["prompt"]}

    def beside(self, folder: Storage, path: str) -> Sequence[str]:
        return ()

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        return ()


class ToyPipeline:
    """Stands for a diffusers pipeline."""


TOY_FAMILY = dataclasses.replace(families.FAMILIES[0], name="toy-family", pipelines=("ToyPipeline",))


def test_a_new_format_of_prompts_needs_no_other_place(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.shout").write_text("a red star\na dot\n")
    (tmp_path / "p.odd").write_text("a red star\na dot\n")
    with pytest.raises(UserError, match=r"prompts.format = 'shout': must be one of 'auto', 'parquet', "):
        configure(prompts={"path": str(tmp_path / "p.shout"), "format": "shout"})
    monkeypatch.setitem(prompt_formats.FORMATS, SHOUT.name, SHOUT)
    for name, kind in (("p.shout", "auto"), ("p.odd", "shout")):
        config = configure(prompts={"path": str(tmp_path / name), "format": kind})
        read = [row.prompt for row in prompt_reading.read(config.prompts) if isinstance(row, PromptRow)]
        assert read == ["A RED STAR", "A DOT"]
    with pytest.raises(UserError, match=r"'classes', 'shout'; did you mean 'shout'\?"):
        configure(prompts={"path": str(tmp_path / "p.shout"), "format": "shuot"})
    with pytest.raises(UserError, match=r"'classes', 'shout'\]"):
        list(prompt_reading.read(configure(prompts={"path": str(tmp_path / "p.odd")}).prompts))


def test_a_new_format_of_exports_needs_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(write_run(tmp_path / "run", Toy(prompts=2, arms=("base",), side=16)))
    words = ["--dataset", str(tmp_path / "run"), "--to", str(tmp_path / "to"), "--format", "lines"]
    with pytest.raises(SystemExit):
        export.main(words)
    assert "invalid choice: 'lines'" in capsys.readouterr().err
    lines: ExportFormat = Lines()
    monkeypatch.setitem(export_formats.FORMATS, lines.name, lines)
    assert export.main(words) == 0
    assert len((tmp_path / "to" / "train-0.txt").read_text().splitlines()) == 2 * 3
    assert "Read 1 files, line by line." in (tmp_path / "to" / "README.md").read_text()


def test_a_new_family_needs_no_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"ToyPipeline is not supported"):
        families.family_of(ToyPipeline())
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, TOY_FAMILY))
    assert families.family_of(ToyPipeline()) is TOY_FAMILY
    with pytest.raises(ModelError, match=r"Supported: .*ToyPipeline"):
        families.family_of(object())


def missing_words() -> list[str]:
    """What READMEs ought to say of the entries of the tables and do not."""
    wanted = [", ".join(f"`{ending}`" for format in prompt_formats.FORMATS.values() for ending in format.endings)]
    wanted += [f"`{pipeline}`" for family in families.FAMILIES for pipeline in family.pipelines]
    wanted += [f"`{family.name}`" for family in families.FAMILIES]
    wanted += [f"`{kind}`" for kind in registry.BUILT_IN]
    exports = [f"- **{name}**: " for name in export_formats.FORMATS]
    return [words for words in wanted if words not in README] + [words for words in exports if words not in EXPORTS]


def test_the_readmes_have_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_words() == []
    monkeypatch.setitem(prompt_formats.FORMATS, SHOUT.name, SHOUT)
    monkeypatch.setitem(export_formats.FORMATS, "lines", Lines())
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, TOY_FAMILY))
    monkeypatch.setitem(registry.BUILT_IN, "taste", "models.scorers.taste")
    endings, *others = missing_words()
    assert endings.endswith("`.txt`, `.shout`")
    assert others == ["`ToyPipeline`", "`toy-family`", "`taste`", "- **lines**: "]


def pictures_of(family: Family) -> str:
    """What the README's table says of a family's pictures."""
    least, most = family.takes
    count = (
        "" if not most else f"at most {most}" if not least else str(least) if least == most else f"{least} to {most}"
    )
    return count + ", mask" * (family.from_mask is not None)


def test_the_table_of_families_says_how_many_pictures_they_take() -> None:
    heading = "| family | diffusers pipeline | checkpoints | guidance | pictures |"
    table = README[README.index(heading) :].partition("\n\n")[0].splitlines()[2:]
    said = {name: line.split("|")[-2].strip() for line in table for name in re.findall("`([a-z0-9-]+)`", line)}
    assert said == {family.name: pictures_of(family) for family in families.FAMILIES}


TABLES = {
    "pipelines/prompts/formats": [*prompt_formats.FORMATS],
    "pipelines/export/formats": [*export_formats.FORMATS],
    "models/families": [family.name for family in families.FAMILIES],
    "models/scorers": [*registry.BUILT_IN],
    "models/interventions": [entry.name for entry in registered()],
}
"""Folder of a table -> the names in it."""
EXCEPTIONS = ("pipelines/config/arms.py", "models/checkpoints.py", "jobs/benchmarks/")
"""The arm of a config that names none, what checkpoints recommend, and what is measured."""


def second_places(source: str, names: Sequence[str]) -> list[int]:
    """Lines of a program that would want changing with a table: they list some of its names, or compare with one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            values, most = [node.left, *node.comparators], 0
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            values, most = node.elts, 1
        elif isinstance(node, ast.Dict):
            values, most = [key for key in node.keys if key], 1
        else:
            continue
        if sum(isinstance(value, ast.Constant) and value.value in names for value in values) > most:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "source",
    [
        'Literal["auto", "csv", "tsv"]',
        '{".csv": 1, "csv": 2, "tsv": 3}',
        'parser.add_argument("--x", choices=["csv", "text"])',
        'x == "csv"',
        '"csv" in x',
    ],
)
def test_second_places_are_found(source: str) -> None:
    assert second_places(source, ["csv", "tsv", "text"]) == [1]


@pytest.mark.parametrize("home", TABLES)
def test_no_second_place_lists_the_names(home: str) -> None:
    files = [file for room in ("models", "pipelines", "jobs") for file in sorted((ROOT / room).rglob("*.py"))]
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        if not file.is_relative_to(ROOT / home)
        for line in second_places(file.read_text(), TABLES[home])
    ]
    assert [place for place in found if not place.startswith(EXCEPTIONS)] == []


def test_the_import_rules_name_no_single_entry() -> None:
    rules = (ROOT / "pyproject.toml").read_text()
    for home in TABLES:
        for file in (ROOT / home).glob("*.py"):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            assert module.endswith(("__init__", "base", "registry")) or module not in rules
