"""Pictures that rows of prompt files name: how they may be given, and which are refused."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.pictures import decoded, size_of
from pipelines.calibration.config import CalibrationConfig, Grid
from pipelines.dataset.failures import Failure
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import calibrate
from pipelines.plan.files import FAILED_PROMPTS
from pipelines.plan.write import write_plan
from pipelines.prompts import pictures
from pipelines.prompts.columns import Columns
from pipelines.prompts.config import Prompts
from pipelines.prompts.rows import FailedPrompt, PromptRow
from tests.conftest import Configure
from tests.support.pictured import BLUE, COLUMNS, RED, id_of, lines, png
from tests.support.prompt_files import read, written

SCORER = "local-dir:models/embedded/weights/clip"


def given(path: Path, **wanted: Any) -> list[tuple[str, ...] | str]:
    """The ids of each row's pictures, or why it cannot be used."""
    rows = read(path, columns=Columns(**wanted.pop("columns", COLUMNS)), **wanted)
    return [row.edit.sources if isinstance(row, PromptRow) else row.failure.error for row in rows]


def test_a_picture_may_be_bytes_a_struct_a_path_or_a_list_of_these(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "down").mkdir()
    (tmp_path / "down/blue.png").write_bytes(BLUE)
    ids = [(id_of(RED),), (id_of(BLUE),)]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "bytes": pa.array([RED, BLUE, None]),
        "large": pa.array([RED, BLUE, None], pa.large_binary()),
        "struct": pa.array([{"bytes": RED, "path": None}, {"bytes": None, "path": "down/blue.png"}, None], struct),
        "list": pa.array([[RED], [BLUE], []]),
        "path": pa.array(["red.png", f"{tmp_path}/down/blue.png", ""]),
    }
    for name, column in columns.items():
        table = pa.table({"prompt": ["a", "b", "c"], "picture": column})
        assert given(written(tmp_path / f"{name}.parquet", table)) == [*ids, ()], name
    inside = pa.table({"prompt": ["a", "b"], "of": pa.array([{"picture": [RED, BLUE]}, {"picture": None}])})
    assert given(written(tmp_path / "in.parquet", inside), columns={"source_image": "of.picture"}) == [
        (id_of(RED), id_of(BLUE)),
        (),
    ]
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "picture": ["red.png", "down/blue.png"]},
        {"prompt": "b", "picture": {"path": "red.png"}},
    ]
    assert given(lines(tmp_path, rows)) == [(id_of(RED), id_of(BLUE)), (id_of(RED),)]
    assert given(written(tmp_path / "p.csv", f"prompt,picture\na,red.png\nb,file://{tmp_path}/down/blue.png\n")) == ids


def test_what_is_no_fitting_picture_costs_its_row_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere.png"
    folder.mkdir()
    elsewhere.write_bytes(RED)
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:])
    (folder / "good.png").write_bytes(RED)
    (folder / "cut.jpg").write_bytes(png(size=(400, 300), kind="JPEG")[:900])
    (folder / "text.png").write_text("no picture")
    (folder / "gif.gif").write_bytes(png(kind="GIF"))
    os.mkfifo(folder / "pipe.png")
    monkeypatch.setattr("models.pictures.MOST_PIXELS", 200_000)
    (folder / "huge.png").write_bytes(png(size=(500, 500)))
    why = {
        "good.png": "",
        "gone.png": "there is no file",
        "pipe.png": "there is no file",
        "animated.webp": "animated",
        "cut.jpg": "cannot be read",
        "text.png": "it is no PNG, JPEG or WEBP file",
        "gif.gif": "it is no PNG, JPEG or WEBP file",
        "huge.png": "500 x 500 pixels",
        "../elsewhere.png": "outside",
        f"{folder}/../elsewhere.png": "outside",
        str(elsewhere): "outside",
        f"file://{elsewhere}": "outside",
        "s3://bucket/red.png": "outside",
        "https://example.org/red.png": "s3://",
        "nul\0.png": "NUL",
    }
    rows: list[dict[str, Any]] = [{"picture": value} for value in why]
    rows += [{"picture": 7}, {"picture": {"url": "red.png"}}]
    found = given(lines(folder, [{**row, "prompt": str(at)} for at, row in enumerate(rows)]))
    assert found[0] == (id_of(RED),)
    for (value, reason), error in zip([*why.items()][1:], found[1:], strict=False):
        assert isinstance(error, str), value
        assert reason in error, value
        assert error.startswith(f"picture = {value!r}"[:100].replace("\0", "\\x00")), value
    assert ["int is no picture" in str(found[-2]), "dict is no picture" in str(found[-1])] == [True, True]
    assert given(lines(tmp_path, [{"prompt": "a", "picture": "elsewhere.png"}])) == [(id_of(RED),)]
    many = given(lines(tmp_path, [{"prompt": "a", "picture": ["elsewhere.png"] * 17}]))
    assert "at most 16 pictures, not 17" in str(many[0])
    monkeypatch.setattr(pictures, "MOST_BYTES", len(RED) - 1)
    assert "more than" in str(given(lines(tmp_path, [{"prompt": "a", "picture": "elsewhere.png"}]))[0])


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a few kB may be a picture of 64 megapixels, and some rows are read at a time."""
    now, most = Counter[str](), Counter[str]()

    def decoded(data: bytes) -> None:
        kind = "large" if size_of(data) == (30, 10) else "small"
        now[kind] += 1
        most[kind] = max(most[kind], now[kind])
        time.sleep(0.02)
        now[kind] -= 1

    monkeypatch.setattr(pictures, "LARGE", 200)
    monkeypatch.setattr(pictures, "decoded", decoded)
    for at in range(8):
        (tmp_path / f"{at}.png").write_bytes(png(size=(30, 10) if at < 4 else (10, 10)))
    rows = given(lines(tmp_path, [{"prompt": str(at), "picture": f"{at}.png"} for at in range(8)]))
    assert len(rows) == 8
    assert most["large"] == 1 < most["small"]


def test_a_picture_is_decoded_once_and_one_that_is_broken_is_so_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "cut.png").write_bytes(RED[:50])
    seen: list[bytes] = []

    def watched(data: bytes) -> None:
        seen.append(data)
        decoded(data)

    monkeypatch.setattr(pictures, "decoded", watched)
    reader = pictures.PictureReader(Prompts(path="p.jsonl", columns=Columns(**COLUMNS)))
    of = [reader.of(str(tmp_path / "p.jsonl"), {"picture": f"{name}.png"}) for name in ("red", "cut", "red", "cut")]
    assert [isinstance(one, Failure) for one in of] == [False, True, False, True]
    assert seen.count(RED) == 1


def test_rows_may_name_what_lies_below_the_folders_of_the_settings_and_nothing_else(tmp_path: Path) -> None:
    for name in ("prompts", "one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "red.png").write_bytes(RED)
    (tmp_path / "one/link.png").symlink_to(tmp_path / "prompts/red.png")
    values = ["red.png", f"{tmp_path}/two/red.png", "link.png", f"{tmp_path}/prompts/red.png", f"{tmp_path}/onered.png"]
    path = lines(tmp_path / "prompts", [{"prompt": value, "picture": value} for value in values])
    found = given(path, picture_folders=(str(tmp_path / "one"), str(tmp_path / "two")))
    assert [isinstance(one, tuple) for one in found] == [True, True, True, False, False]
    assert "prompts.picture_folders" in str(found[3])


def test_prompts_pictures_and_the_run_may_lie_in_s3(s3: Storage, configure: Configure) -> None:
    s3.write_bytes("mine/down/red.png", RED)
    s3.write_bytes("elsewhere.png", BLUE)
    values = ["down/red.png", f"{s3.uri}/mine/down/red.png", "gone.png", "../elsewhere.png", f"{s3.uri}/elsewhere.png"]
    rows = [json.dumps({"prompt": value, "picture": value}) for value in values]
    s3.write_bytes("mine/p.jsonl", "\n".join(rows).encode())
    output = Storage.open(f"{s3.uri}/run")
    counts = write_plan(configure(prompts={"path": f"{s3.uri}/mine/*.jsonl", "columns": COLUMNS}), output)
    assert (counts.prompts, counts.bad_prompts, counts.segments[0].sources) == (2, 3, 1)
    assert Sources(output).read([id_of(RED)]) == {id_of(RED): RED}
    failed = pq.read_table(output.open_input(FAILED_PROMPTS)).to_pylist()
    assert [row["error_type"] for row in failed] == ["NoPicture", "PictureElsewhere", "PictureElsewhere"]


def test_a_mask_is_one_picture_as_large_as_the_first_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    for name, data in {"white": png("white"), "black": png("black"), "large": png("white", (16, 6))}.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    rows = [
        {"prompt": name, "picture": "red.png", "source_mask": f"{name}.png"} for name in ("white", "black", "large")
    ]
    rows += [{"prompt": "alone", "picture": "", "source_mask": "white.png"}]
    found = read(lines(tmp_path, rows), columns=Columns(**COLUMNS))
    assert [isinstance(row, PromptRow) for row in found] == [True, False, False, False]
    assert isinstance(found[0], PromptRow)
    assert found[0].edit.mask == id_of(png("white"))
    reasons = [row.failure.error for row in found if isinstance(row, FailedPrompt)]
    for reason, words in zip(reasons, ("black", "equally large", "with a picture"), strict=True):
        assert reason.startswith("source_mask = ")
        assert words in reason


def test_columns_of_pictures_act_only_where_they_are_named(tmp_path: Path) -> None:
    row = {"prompt": "a", "source_image": "gone.png", "source_mask": "gone.png", "target_caption": 5}
    assert given(lines(tmp_path, [row]), columns={}) == [()]
    with pytest.raises(ValueError, match=r"needs prompts\.columns\.source_image too"):
        Columns(source_mask="mask")


def test_a_calibration_edits_no_pictures(tmp_path: Path, configure: Configure) -> None:
    tables: dict[str, Any] = {"model": {"path": "models/embedded/weights/pipeline"}, "scoring": {"model": SCORER}}
    config = configure(prompts={"path": str(lines(tmp_path, [{"prompt": "a"}])), "columns": COLUMNS}, **tables)
    with pytest.raises(UserError, match="edits none"):
        calibrate.run(CalibrationConfig(run=config, tables={}, grid=Grid()), Storage.open(tmp_path / "out"))
