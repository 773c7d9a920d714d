"""Below the formats: every format gives the same prompts in every compression and encoding, as a stream; and what is
damaged, or no text, is one sentence."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts.formats import FORMATS, json_array, lines
from pipelines.prompts.rows import PromptRow
from tests.conftest import Configure
from tests.support.prompt_files import read, shown, written

TEXTS = ['a "café", crème', "naïve façade; señor", "a | b", "x" * 300]


def table(delimiter: str) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([("prompt", "concept"), *((text, "é") for text in TEXTS)])
    return file.getvalue()


OBJECTS = [{"prompt": text, "concept": "é"} for text in TEXTS]
FILES: dict[str, str] = {
    "p.txt": "\n".join(TEXTS),
    "p.csv": table(","),
    "semicolons.csv": table(";"),
    "tabs.csv": table("\t"),
    "bars.csv": table("|"),
    "p.tsv": table("\t"),
    "p.jsonl": "\n".join(json.dumps(one, ensure_ascii=False) for one in OBJECTS),
    "lines.json": "\r\n".join(map(json.dumps, OBJECTS)),
    "p.json": json.dumps(OBJECTS, indent=1, ensure_ascii=False),
    "texts.json": json.dumps(TEXTS, ensure_ascii=False),
}
"""Name -> a file with the same prompts."""
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252")
WITHOUT_A_MARK = ("utf-16-le", "latin-1", "cp1252")


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".GZIP": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
    ".zstd": lambda data: b"\x50\x2a\x4d\x18\4\0\0\0skip" + zstd(data[:7]) + zstd(data[7:]),
}
"""Ending -> a way to compress."""


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", FILES)
def test_all_say_the_same(tmp_path: Path, name: str, encoding: str, ending: str) -> None:
    path = written(tmp_path / (name + ending), COMPRESSIONS[ending](FILES[name].encode(encoding)))
    settings: Any = {"encoding": encoding} if encoding in WITHOUT_A_MARK else {}
    rows = read(path, **settings)
    assert [row.prompt for row in rows] == TEXTS
    assert read(path, limit=2, **settings) == rows[:2]
    has_columns = name not in ("p.txt", "texts.json")
    assert {row.concept for row in rows if isinstance(row, PromptRow)} == {"é" if has_columns else None}


def test_every_format_of_text_is_in_the_table() -> None:
    endings = {Path(name).suffix for name in FILES}
    assert all(endings.intersection(format.endings) for format in FORMATS.values() if format.text and format.endings)


def test_compression_goes_by_the_content(tmp_path: Path) -> None:
    assert shown(written(tmp_path / "p.txt", gzip.compress(b"a cat\n"))) == ["1 a cat"]
    assert shown(written(tmp_path / "p.csv.gz", "prompt\na cat\n")) == ["2 a cat"]


def test_s3(s3: Storage) -> None:
    for name in ("semicolons.csv", "p.json", "p.jsonl"):
        for ending, compress in COMPRESSIONS.items():
            s3.write_bytes(name + ending, compress(FILES[name].encode("utf-16")))
    for pattern in ("*.csv*", "p.json", "p.jsonl.zst"):
        rows = read(f"{s3.uri}/{pattern}", duplicates="drop")
        assert [row.prompt for row in rows] == TEXTS


# Damage


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.tsv", "p.jsonl", "p.json"])
@pytest.mark.parametrize("compress", [gzip.compress, zstd], ids=["gzip", "zstd"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: data[:12], lambda data: data + b"more", lambda data: data[:40] + b"\xff" * 9],
    ids=["cut", "start", "more", "flipped"],
)
def test_a_damaged_stream_is_named(tmp_path: Path, name: str, compress: Any, damage: Any) -> None:
    path = written(tmp_path / name, damage(compress(FILES[name].encode())))
    with pytest.raises(UserError, match=r"not readable as (gzip|zstd), after [\d,]+ bytes of its content: .*copy it"):
        read(path)


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, lambda data: b"PK\3\4" + data])
def test_other_compressions_are_named(tmp_path: Path, compress: Any) -> None:
    path = written(tmp_path / "p.txt.gz", compress(b"a cat\n"))
    with pytest.raises(UserError, match=r"p\.txt\.gz is .*, which is not read: unpack it, or compress it with gzip"):
        read(path)


def test_compressed_parquet_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": TEXTS}), tmp_path / "p")
    path = written(tmp_path / "p.parquet.gz", gzip.compress((tmp_path / "p").read_bytes()))
    with pytest.raises(UserError, match="compressed with gzip as a whole, and parquet is read in parts: unpack it"):
        read(path)


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.tsv", "p.jsonl", "p.json"])
def test_a_bomb_is_stopped_by_its_first_megabytes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line, or an element, that goes on and on: of it no more than a limit is unpacked."""
    monkeypatch.setattr(lines, "_LONGEST_LINE", 1 << 20)
    monkeypatch.setattr(json_array, "_LONGEST_ELEMENT", 1 << 20)
    start = {"p.csv": "prompt\n", "p.tsv": "prompt\n", "p.json": '["'}.get(name, "")
    packed = gzip.compress(start.encode()) + gzip.compress(b"x" * (1 << 24))
    unpacked = 0
    chunks = lines.texts_of

    def counted(file: Any) -> Any:
        nonlocal unpacked
        for text in chunks(file):
            unpacked += len(text)
            yield text

    monkeypatch.setattr(lines, "texts_of", counted)
    monkeypatch.setattr(json_array, "texts_of", counted)
    with pytest.raises(UserError, match=rf"{name}.* (has a line of more than 1,048,576|is no JSON array)"):
        read(written(tmp_path / name, packed))
    assert 0 < unpacked < 4 << 20


@pytest.mark.parametrize("encoding", ["utf8x", "hex", "idna", "undefined", "rot13", "", "unicode_escape"])
def test_an_encoding_that_files_cannot_have_is_named(configure: Configure, encoding: str) -> None:
    with pytest.raises(UserError, match=rf"encoding = '{encoding}'.*as Python names it"):
        configure(prompts={"path": "p.txt", "encoding": encoding})


def test_bytes_that_the_encoding_does_not_have_cost_their_row(tmp_path: Path) -> None:
    path = written(tmp_path / "p.txt", b"fine\nbad \x81 byte\n\x93good\x94\n")
    assert shown(path, encoding="cp1252") == ["1 fine", "2 UndecodableText", "3 “good”"]
    path = written(tmp_path / "p.txt", "猫\n".encode("shift_jis") + b"\x81\xff\n" + "犬".encode("shift_jis"))
    assert shown(path, encoding="shift_jis") == ["1 猫", "2 UndecodableText", "3 犬"]


# CSV


def test_the_delimiter_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "p.csv", table(";"))
    for _ in range(2):
        assert len(read(path)) == len(TEXTS)
    assert [record.message for record in caplog.records] == [
        f"{path}: its cells lie between semicolons, as in its header line"
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("prompt", ["2 a;b"]),
        ("concept;prompt", ["2 b"]),
        ('"concept,x";"prompt"', ["2 b"]),
        ("x;y,prompt", ["2 UnreadableRow"]),
    ],
)
def test_the_delimiter_is_what_gives_the_header_the_prompt(tmp_path: Path, header: str, expected: list[str]) -> None:
    assert shown(written(tmp_path / "p.csv", f"{header}\na;b\n")) == expected


def test_records_go_on_from_block_to_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of several lines, a quote that is not closed and blank lines, read a few bytes at a time."""
    content = 'prompt,concept\n"one\ntwo\nthree",x\n\nfine,"y ""z"""\r\n"never\nclosed,x\nlast,"é\r\nè"\n'
    path = written(tmp_path / "p.csv", content)
    whole = shown(path)
    assert whole == ["2 one two three", "6 fine", "7 UnreadableRow", "8 closed", "9 last"]
    for size in (1, 2, 3, 5, 17):
        monkeypatch.setattr(lines, "_CHUNK_BYTES", size)
        assert shown(path) == whole
        assert [row.prompt for row in read(written(tmp_path / "q.txt", "a\r\nb\rc\n\nd"))] == ["a", "b", "c", "d"]


# JSON arrays


def test_elements_cost_themselves_and_say_their_number(tmp_path: Path) -> None:
    content = (
        '[\n "a", {"prompt": "b", "x": [1]}, 3, null, [], {"prompt": "c", "prompt": "d"}, {"x": 1}, {"prompt": 5}]\n'
    )
    assert shown(written(tmp_path / "p.json", content)) == [
        "1 a",
        "2 b",
        "3 UnreadableRow",
        "4 UnreadableRow",
        "5 UnreadableRow",
        "6 UnreadableRow",
        "7 EmptyPrompt",
        "8 NotText",
    ]
    assert shown(written(tmp_path / "p.json", " [ ] ")) == []


def test_an_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ['a [b], {"c": 1}', "é\\", "\U0001f600 12", "x" * 50]
    objects = [{"n": 12345.5e3, "prompt": text, "deep": {"y": [True, None, "]"]}} for text in texts]
    for content in (json.dumps(objects), json.dumps(objects, indent=2, ensure_ascii=False), json.dumps([1234, *texts])):
        path = written(tmp_path / "p.json", content)
        for size in (1, 3, 1 << 18):
            monkeypatch.setattr(lines, "_CHUNK_BYTES", size)
            assert [row.prompt for row in read(path) if isinstance(row, PromptRow)] == texts


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 1, "an array"),
        ("3", 1, "an array"),
        ('["a"', 1, "comma or the end"),
        ('["a" "b"]', 1, "comma or the end"),
        ('["a",]', 1, "Expecting value"),
        ('["a"]\n]', 2, "more after the end"),
        ('["a",\n\n {"prompt": b}]', 3, "Expecting value"),
        ('["a", "b', 1, "Unterminated string"),
        ("[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_what_is_no_array_is_named_with_its_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    path = written(tmp_path / "p.json", content)
    with pytest.raises(UserError, match=rf"p\.json:{line}: it is no JSON array of prompts: .*{words}"):
        read(path)


def test_an_object_around_the_array_has_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no column 'prompt' for the prompt; it has \['data'\]"):
        read(written(tmp_path / "p.json", '{"data": [{"prompt": "a"}]}'))
