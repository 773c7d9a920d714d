"""The parts of the stages that need no model: isolation of failures, the travelling block, selection, the sink."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from models.scorers.base import GroupScores
from pipelines.config.tables import Selection
from pipelines.dataset import images, schema
from pipelines.dataset.failures import Failure, failed_rows, of_group
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.plan.write import write_plan
from pipelines.stages.block import Shard, pack, unpack
from pipelines.stages.isolate import packs_of_equal, run_isolated
from pipelines.stages.judge import Judged
from pipelines.stages.selection import Selected, ranks, select
from pipelines.stages.write import write_shard
from tests.conftest import Configure


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_packs_are_equal_and_complete(keys: list[int], size: int) -> None:
    packs = packs_of_equal(keys, size)
    assert sorted(index for pack in packs for index in pack) == list(range(len(keys)))
    assert all(len({keys[index] for index in pack}) == 1 and len(pack) <= size for pack in packs)
    assert len(packs) == sum(-(-keys.count(key) // size) for key in set(keys))


def double(numbers: list[int]) -> list[int]:
    if 13 in numbers:
        raise ValueError("no thirteens")
    if 66 in numbers:
        raise RuntimeError
    return [2 * number for number in numbers]


def test_a_failing_item_costs_itself_only() -> None:
    items = [1, 13, 2, 66, 13]
    outcomes = dict(run_isolated(items, [[0, 1, 2], [3], [4]], double))
    assert outcomes == {
        0: 2,
        1: Failure(error_type="ValueError", error="no thirteens", attempts=2),
        2: 4,
        3: Failure(error_type="RuntimeError", error="RuntimeError()", attempts=2),
        4: Failure(error_type="ValueError", error="no thirteens", attempts=1),
    }


def test_a_passing_trouble_is_tried_again() -> None:
    calls: list[list[int]] = []

    def once_broken(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        if len(calls) == 1:
            raise RuntimeError
        return numbers

    assert list(run_isolated([5], [[0]], once_broken)) == [(0, 5)]
    assert calls == [[5], [5]]


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_images_are_lossless(image_format: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    data = images.encode(image, image_format)
    assert np.array_equal(images.decode(data), image)
    assert images.encode(image, image_format) == data


def test_videos_are_lossless() -> None:
    video = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
    data = images.encode_video(video, 8)
    assert images.encode_video(video, 8) == data
    with Image.open(io.BytesIO(data)) as opened:
        frames = [
            (np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(opened)
        ]
    assert np.array_equal([pixels for pixels, _ in frames], video)
    assert {duration for _, duration in frames} == {125}
    assert np.array_equal(images.decode(data), video[2])
    assert images.image_id(video) != images.image_id(video[:4])


def test_image_ids_follow_pixels_and_shape() -> None:
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert images.image_id(image) == images.image_id(image.copy())
    assert images.image_id(image[::-1]) != images.image_id(image)
    assert images.image_id(image.reshape(4, 3, 3)) != images.image_id(image)


def test_blank_images_are_found() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    batch[1] = 0
    batch[3] = (10, 20, 30)
    assert images.blank(batch) == [1, 3]


def features(*angles: float) -> NDArray[np.float32]:
    """Unit vectors in the plane, at these angles in degrees."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def chosen(scores: list[float], margins: list[float] | None = None, ids: str = "abcd", **rules: Any) -> Selected:
    angles = rules.pop("angles", (0, 30, 60, 90))
    known = None if margins is None else np.array(margins, np.float32)
    return select(
        Selection(**rules),
        ids[: len(scores)],
        features_BD=features(*angles),
        margins_B=known,
        ranked_by_B=np.array(scores, np.float32) if known is None else known,
    )


def test_rank_goes_by_margin_where_there_is_one() -> None:
    score_B, margin_B = np.array([0.1, 0.3, 0.3, 0.2], np.float32), np.array([0.4, 0.1, 0.2, 0.3], np.float32)
    for scores, rank in (
        (GroupScores(score_B=score_B), [4, 1, 2, 3]),
        (GroupScores(score_B=score_B, margin_B=margin_B), [1, 4, 3, 2]),
    ):
        assert ranks(Judged(model="m", scores=scores, diversity=None).ranked_by_B) == rank
    assert chosen([0.1, 0.3, 0.3, 0.2]).rank == [4, 1, 2, 3]
    assert chosen([0.1, 0.3, 0.3, 0.2]).drop_reason == [None] * 4


def test_the_best_are_kept() -> None:
    assert chosen([0.1, 0.3, 0.4, 0.2], keep_per_group=2).drop_reason == ["rank", None, None, "rank"]
    assert chosen([0.1, 0.3, 0.4, 0.2], keep_per_group=9).drop_reason == [None] * 4


def test_a_low_margin_drops_only_where_it_is_known() -> None:
    assert chosen([0.1] * 4, [0.1, -0.1, 0.0, 0.2], min_margin=0.0).drop_reason == [None, "margin", None, None]
    assert chosen([0.1] * 4, min_margin=0.0).drop_reason == [None] * 4


def test_equal_pixels_are_duplicates_of_the_first() -> None:
    result = chosen([0.1, 0.9, 0.3, 0.2], ids="abaa")
    assert result.duplicate_of == [None, None, "a", "a"]
    assert result.drop_reason == [None, None, "duplicate", "duplicate"]


def test_near_images_are_duplicates_of_what_stays() -> None:
    # 0 and 20 degrees are near, 20 and 40 too, 0 and 40 are not: the third repeats nothing that stays.
    result = chosen([0.1] * 4, angles=(0, 20, 40, 90), duplicate_similarity=float(np.cos(np.deg2rad(25))))
    assert result.duplicate_of == [None, "a", None, None]
    assert chosen([0.1] * 4, angles=(0, 0, 0, 0)).duplicate_of == [None] * 4  # by default only equal pixels count


def test_a_duplicate_takes_no_place_among_the_best() -> None:
    assert chosen([0.9, 0.8, 0.7, 0.1], ids="aacd", keep_per_group=2).drop_reason == [None, "duplicate", None, "rank"]


@pytest.fixture
def planned(configure: Configure, tmp_path: Path) -> tuple[Storage, pa.Table]:
    output = Storage.open(tmp_path / "out")
    write_plan(configure(group={"size": 2}), output)
    return output, read_shard(output, 0)


def test_a_block_is_one_row_and_comes_back_whole(planned: tuple[Storage, pa.Table]) -> None:
    _, groups = planned
    rows = groups.select(["group_id", "group_seeds", "repulsion", "concept"])
    failed = failed_rows("score", [({}, FAILURE)])
    for table in (rows, rows.slice(1), rows.slice(0, 0)):
        block = pack(Shard(shard=3, retry=True, images=table, failed=failed))
        assert block.num_rows == 1
        back = unpack(block)
        assert (back.shard, back.retry) == (3, True)
        assert back.images.schema == rows.schema
        assert back.images.to_pylist() == table.to_pylist()
        assert back.failed == failed


FAILURE = Failure(error_type="E", error="e")


def failures(groups: pa.Table, indices: list[int]) -> pa.Table:
    return failed_rows("generate", ((of_group(groups, index), FAILURE) for index in indices))


@pytest.mark.parametrize("indices", [[0], [], [0, 0, 1], [1, 1]])
def test_a_shard_that_is_not_whole_is_not_written(planned: tuple[Storage, pa.Table], indices: list[int]) -> None:
    output, groups = planned
    shard = Shard(
        shard=0,
        retry=False,
        images=schema.scored(4).empty_table(),
        failed=failures(groups, indices),
    )
    with pytest.raises(RuntimeError, match="shard 0 is not whole"):
        write_shard(pack(shard), output)
    assert not output.exists("data/shard-000000.parquet")


def test_a_shard_of_failures_is_done(planned: tuple[Storage, pa.Table]) -> None:
    output, groups = planned
    output.write_bytes("rejected/shard-000000.parquet", b"of an interrupted attempt")
    shard = Shard(
        shard=0,
        retry=False,
        images=schema.scored(4).empty_table(),
        failed=failures(groups, [0, 1]),
    )
    (row,) = write_shard(pack(shard), output).to_pylist()
    assert (row["images"], row["failed"]) == (0, 2)
    assert output.list("data") == output.list("failed") == ["shard-000000.parquet"]
    assert output.list("rejected") == []
