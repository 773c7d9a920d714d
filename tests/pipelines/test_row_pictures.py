"""Pictures that rows of prompt files name: how they may be given, which are refused, and how a run keeps them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.pictures import decoded, size_of
from pipelines.calibration.config import CalibrationConfig, Grid
from pipelines.config.fingerprint import fingerprint
from pipelines.config.run import RunConfig
from pipelines.dataset import sources
from pipelines.dataset.failures import Failure
from pipelines.dataset.run_json import PlanCounts
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import calibrate, synth
from pipelines.plan.files import FAILED_PROMPTS, check_there, read_shard, trim
from pipelines.plan.groups import groups_of
from pipelines.plan.write import count_plan, write_plan
from pipelines.prompts import pictures
from pipelines.prompts.columns import Columns
from pipelines.prompts.config import Prompts
from pipelines.prompts.rows import FailedPrompt, PromptRow
from tests.conftest import Configure
from tests.support.prompt_files import read, written

COLUMNS = {"source_image": "picture"}
SCORER = "local-dir:models/embedded/weights/clip"


def png(colour: str = "red", size: tuple[int, int] = (8, 6), kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **how)
    return file.getvalue()


def id_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


RED, BLUE = png(), png("blue")


def lines(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    return written(folder / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


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


Plan = Callable[..., tuple[RunConfig, PlanCounts]]


@pytest.fixture
def plan(tmp_path: Path, configure: Configure) -> Plan:
    """Plans rows in the same folder each time."""
    for name, data in {"red": RED, "blue": BLUE, "white": png("white")}.items():
        (tmp_path / f"{name}.png").write_bytes(data)

    def of(rows: Sequence[dict[str, Any]], before: PlanCounts | None = None, **prompts: Any) -> Any:
        path = lines(tmp_path, rows)
        config = configure(prompts={"path": str(path), "columns": COLUMNS, **prompts}, group={"size": 2})
        counts = write_plan(config, Storage.open(tmp_path / "out"), before)
        if before is None:
            assert count_plan(config).groups == counts.groups
        return config, counts

    return of


def planned(folder: Path, counts: PlanCounts) -> list[dict[str, Any]]:
    output = Storage.open(folder / "out")
    return [row for shard in counts.shard_numbers() for row in read_shard(output, shard).to_pylist()]


def kept(folder: Path) -> list[str]:
    output = Storage.open(folder / "out")
    return [row["source_id"] for path in sources.files(output) for row in pq.read_table(output.path(path)).to_pylist()]


def test_a_run_keeps_each_picture_once_and_needs_the_users_files_no_more(tmp_path: Path, plan: Plan) -> None:
    rows = [
        {"prompt": "make it blue", "picture": "red.png", "target_caption": "a blue square"},
        {"prompt": "make it dark", "picture": ["red.png", "blue.png"], "source_mask": "white.png"},
        {"prompt": "something new", "picture": None},
        {"prompt": "bad", "picture": "gone.png"},
        {"prompt": "make it blue", "picture": "blue.png", "prompt_id": "named"},
    ]
    _, counts = plan(rows)
    assert kept(tmp_path) == [id_of(RED), id_of(BLUE), id_of(png("white"))]
    found = planned(tmp_path, counts)
    assert [row["source_images"] for row in found] == [
        [id_of(RED)],
        [id_of(RED), id_of(BLUE)],
        None,
        [id_of(BLUE)],
    ]
    assert [row["source_mask"] for row in found] == [None, id_of(png("white")), None, None]
    assert [row["target_caption"] for row in found] == ["a blue square", None, None, None]
    (failed,) = pq.read_table(tmp_path / "out" / FAILED_PROMPTS).to_pylist()
    assert (failed["stage"], failed["error_type"]) == ("plan", "NoPicture")
    assert failed["source"].endswith("p.jsonl:4")
    for path in tmp_path.glob("*.png"):
        path.unlink()
    output = Storage.open(tmp_path / "out")
    groups = [
        group for shard in counts.shard_numbers() for group in groups_of(read_shard(output, shard), Sources(output))
    ]
    assert [group.pictures for group in groups] == [(RED,), (RED, BLUE), (), (BLUE,)]
    assert [group.mask for group in groups] == [None, png("white"), None, None]


def test_pictures_are_part_of_what_a_prompt_and_a_group_are(tmp_path: Path, plan: Plan) -> None:
    one, other = {"prompt": "make it dark", "picture": "red.png"}, {"prompt": "make it dark", "picture": "blue.png"}
    masked = {**one, "source_mask": "white.png"}
    _, counts = plan([one, other, masked, {"prompt": "make it dark"}, {**one, "steps": 3}, one])
    found = planned(tmp_path, counts)
    assert counts.bad_prompts == 1  # the last repeats the first
    assert len({row["prompt_id"] for row in found}) == len({row["group_id"] for row in found}) == 5
    drawn: dict[tuple[Any, ...], set[str]] = {}
    for row in found:
        drawn.setdefault(tuple(row["group_seeds"]), set()).add(f"{row['source_images']} {row['source_mask']}")
    assert len(drawn) == 4  # the row with other steps has the noise of the first
    assert all(len(of) == 1 for of in drawn.values())
    ids = set()
    for picture in ("red.png", "blue.png", None):
        _, counts = plan([{"prompt": "a", "picture": picture, "prompt_id": "same"}])
        ids |= {row["group_id"] for row in planned(tmp_path, counts)}
    assert len(ids) == 3


def test_the_strength_of_an_edit_is_a_setting_of_runs_and_of_rows_with_a_picture(
    tmp_path: Path, plan: Plan, configure: Configure
) -> None:
    one = {"prompt": "a", "picture": "red.png"}
    rows = [one, {**one, "denoising_strength": 0.3}, {"prompt": "b"}, {"prompt": "b", "denoising_strength": 0.3}]
    config, counts = plan(rows)
    found = planned(tmp_path, counts)
    assert [row["denoising_strength"] for row in found] == [0.6, None, 0.3]
    assert len({row["group_id"] for row in found}) == 3
    output = Storage.open(tmp_path / "out")
    groups = [one for shard in counts.shard_numbers() for one in groups_of(read_shard(output, shard), Sources(output))]
    assert [group.sampling.denoising_strength for group in groups] == [0.6, 0.6, 0.3]
    (failed,) = pq.read_table(tmp_path / "out" / FAILED_PROMPTS).to_pylist()
    assert "denoising_strength = 0.3 has no effect: the row has no picture" in failed["error"]

    def print_of(strength: float, columns: dict[str, str]) -> str:
        prompts = {"path": config.prompts.path, "columns": columns}
        return fingerprint(configure(prompts=prompts, sampling={"denoising_strength": strength}))

    assert print_of(0.5, {}) == print_of(0.7, {})
    assert print_of(0.5, COLUMNS) != print_of(0.7, COLUMNS)


def test_a_calibration_edits_no_pictures(tmp_path: Path, configure: Configure) -> None:
    tables: dict[str, Any] = {"model": {"path": "models/embedded/weights/pipeline"}, "scoring": {"model": SCORER}}
    config = configure(prompts={"path": str(lines(tmp_path, [{"prompt": "a"}])), "columns": COLUMNS}, **tables)
    with pytest.raises(UserError, match="edits none"):
        calibrate.run(CalibrationConfig(run=config, tables={}, grid=Grid()), Storage.open(tmp_path / "out"))


def test_an_extension_adds_new_pictures_alone(tmp_path: Path, plan: Plan) -> None:
    rows = [{"prompt": "a", "picture": "red.png"}]
    _, first = plan(rows)
    _, second = plan([*rows, {"prompt": "b", "picture": ["red.png", "blue.png"]}], first)
    assert [(one.shards, one.sources) for one in second.segments] == [(1, 1), (1, 1)]
    assert kept(tmp_path) == [id_of(RED), id_of(BLUE)]
    output = Storage.open(tmp_path / "out")
    trim(output, second.segments)
    assert len(kept(tmp_path)) == 2
    trim(output, first.segments)
    assert kept(tmp_path) == [id_of(RED)]
    with pytest.raises(UserError, match=r"sources-000256-0000.parquet is not there"):
        check_there(output, second.segments)
    with pytest.raises(UserError, match=f"does not hold the picture {id_of(BLUE)}"):
        Sources(output).read([id_of(BLUE)])


def test_a_planning_that_fails_leaves_no_pictures(tmp_path: Path, plan: Plan) -> None:
    _, first = plan([{"prompt": "a", "picture": "red.png"}])
    with pytest.raises(UserError, match="what it has planned stays"):
        plan([{"prompt": "b", "picture": "blue.png"}], first)
    assert kept(tmp_path) == [id_of(RED)]


def test_a_retry_plans_rows_anew_whose_pictures_were_at_fault(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "a", "picture": "red.png"}, {"prompt": "b", "picture": "late.png"}]
    config, counts = plan(rows)
    output = Storage.open(tmp_path / "out")
    assert synth.plans_again(config, output)
    (tmp_path / "late.png").write_bytes(BLUE)
    _, counts = plan(rows, counts)
    assert [row["prompt"] for row in planned(tmp_path, counts)] == ["a", "b"]
    assert not synth.plans_again(config, output)
    plan([*rows, {"prompt": ""}], counts)
    assert not synth.plans_again(config, output)  # nothing outside of the prompt file can put it right


def test_pictures_fill_row_groups_and_files_of_limited_size(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ROW_GROUP_BYTES", 2 * len(RED))
    monkeypatch.setattr(sources, "FILE_BYTES", 4 * len(RED))
    colours = [(at, 0, 0) for at in range(11)]
    data = []
    for at, colour in enumerate(colours):
        data.append(png(colour))  # type: ignore[arg-type]
        (tmp_path / f"{at}.png").write_bytes(data[-1])
    _, counts = plan([{"prompt": str(at), "picture": f"{at}.png"} for at in range(11)])
    output = Storage.open(tmp_path / "out")
    groups = [pq.ParquetFile(output.path(path)).num_row_groups for path in sources.files(output)]
    assert counts.segments[0].sources == len(groups) == 3
    assert groups[:2] == [2, 2]
    assert Sources(output).read([id_of(one) for one in data]) == {id_of(one): one for one in data}
