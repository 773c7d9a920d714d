"""Folders of prompt files, globs, and names of folders that are columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.columns import Columns
from pipelines.prompts.config import Prompts
from pipelines.prompts.rows import PromptRow
from tests.support.prompt_files import read, written

LAID_OUT = {
    "lang=en/part-1.csv": "prompt\na dog\n",
    "lang=en/part-0.csv.gz": "prompt\na cat\n",
    "lang=pt%2Fbr/rarity=rare/p.csv": "prompt;rarity\num gato;common\n",
    "lang=__HIVE_DEFAULT_PARTITION__/p.csv": "prompt,concept\nun chat,own\n",
    "_SUCCESS": "",
    "lang=en/_temporary/p.csv": "prompt\nhidden\n",
    "lang=en/.p.csv.crc": "x",
    "README.md": "# Captions",
}


def lay_out(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        written(folder / name, content)
    return folder


def told(rows: list[Any]) -> list[tuple[str, str | None, str | None]]:
    return [(row.prompt, row.concept, row.rarity) for row in rows if isinstance(row, PromptRow)]


WITH_KEYS = [
    ("un chat", None, None),
    ("a cat", "en", None),
    ("a dog", "en", None),
    ("um gato", "pt/br", "rare"),
]


def test_a_folder_is_all_its_files_and_its_keys_are_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lay_out(tmp_path / "captions", LAID_OUT)
    monkeypatch.chdir(tmp_path)
    for path in (folder, f"{folder}/", f"file://{folder}/", "captions/", "."):
        rows = read(path, columns=Columns(concept="lang"))
        assert told(rows) == WITH_KEYS
        assert rows[1].source.endswith("/lang=en/part-0.csv.gz:2")
        assert "//" not in rows[1].source
    assert told(read(folder)) == [
        ("un chat", "own", None),
        *((text, None, rarity) for text, _, rarity in WITH_KEYS[1:]),
    ]
    assert told(read(folder / "lang=en", columns=Columns(concept=""))) == [("a cat", None, None), ("a dog", None, None)]


def test_a_glob_has_the_keys_of_the_folders_that_it_does_not_name(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "captions", LAID_OUT)
    columns = Columns(concept="lang")
    assert told(read(f"{folder}/**/p*.csv*", columns=columns, duplicates="drop"))[0] == ("un chat", None, None)
    assert told(read(f"{folder}/lang=e*/part*", columns=columns)) == WITH_KEYS[1:3]
    with pytest.raises(UserError, match=r"part-0\.csv\.gz has no column 'lang' for the concept"):
        read(f"{folder}/lang=en/part*", columns=columns)


def test_s3(s3: Storage) -> None:
    for name, content in LAID_OUT.items():
        s3.write_bytes(f"captions/{name}", content.encode())
    for path in ("captions", "captions/"):
        assert told(read(f"{s3.uri}/{path}", columns=Columns(concept="lang"))) == WITH_KEYS
    assert told(read(f"{s3.uri}/captions/lang=e*/p*", columns=Columns(concept="lang"))) == WITH_KEYS[1:3]
    assert s3.files_below("nothing") == []


def test_a_folder_of_several_formats_is_asked_about(tmp_path: Path) -> None:
    lay_out(tmp_path, {"a.csv": "prompt\na cat\n", "deep/b.jsonl.gz": '{"prompt": "a dog"}', "notes.xyz": ""})
    written(tmp_path / "c.parquet", pa.table({"prompt": ["a sun"]}))
    with pytest.raises(UserError, match=r"several formats: csv \(.*/a\.csv\), .*Set prompts\.format to one of them"):
        read(tmp_path)
    for name, prompt in {"csv": "a cat", "jsonl": "a dog", "parquet": "a sun"}.items():
        assert [row.prompt for row in read(tmp_path, format=name)] == [prompt]
    with pytest.raises(UserError, match=r"no file with an ending of tsv"):
        read(tmp_path, format="tsv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no file with an ending of prompts"):
        read(tmp_path / "empty")


def test_a_file_that_is_named_more_than_once_is_read_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / f"{name}.txt", f"from {name}\n")
    patterns = (f"{tmp_path}/b.txt", f"{tmp_path}/*.txt", f"{tmp_path}/a*", str(tmp_path))
    rows = list(prompt_reading.read(Prompts(path=patterns)))
    assert [row.prompt for row in rows if isinstance(row, PromptRow)] == ["from b", "from a"]
    assert len(rows) == 2


def test_a_key_is_part_of_what_a_plan_is_made_from(tmp_path: Path) -> None:
    for lang in ("en", "de"):
        lay_out(tmp_path / lang, {f"lang={lang}/p.txt": "a cat\n"})
    english, german = (prompt_reading.digests(Prompts(path=str(tmp_path / lang))) for lang in ("en", "de"))
    (alone,) = prompt_reading.digests(Prompts(path=str(tmp_path / "en" / "lang=en" / "p.txt")))
    assert english != german
    assert english[0].bytes == german[0].bytes == alone.bytes
    assert alone.sha256 not in (english[0].sha256, german[0].sha256)
