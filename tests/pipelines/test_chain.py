"""A chain of stages whose columns do not fit is refused before any of its actors starts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipelines.cluster.executor import Columns, Stage, check_chain, make
from pipelines.cluster.progress import Tracker
from pipelines.dataset.storage import Storage
from pipelines.flows import synth
from pipelines.stages.block import REQUEST, make_request
from tests.conftest import Configure


def columns(*names: str) -> Columns:
    return {name: f"meaning of {name}" for name in names}


class Draw:
    """Must not be constructed."""

    READS = columns("shard")
    WRITES = columns("shard", "images.pixels")

    def __init__(self) -> None:
        raise AssertionError("an actor was constructed")

    def __call__(self, block: pa.Table) -> pa.Table:
        raise AssertionError("an actor was called")


class Score(Draw):
    READS = columns("images.pixels", "images.prompt")
    WRITES = columns("shard", "images.score")


class Write(Draw):
    READS = columns("images.score")
    WRITES = columns("shard")


def chain(*kinds: type[Draw]) -> list[Stage]:
    return [Stage(kind=kind, arguments={}, workers=1, cpus=1.0) for kind in kinds]


@pytest.mark.parametrize(
    ("orders", "kinds", "words"),
    [
        (
            [{"shard": 1}],
            [Draw, Score],
            r"Score reads the column 'images.prompt' \(meaning of images.prompt\)",
        ),
        ([{"shard": 1}], [Write], r"Write reads the column 'images.score' .* which what goes into the chain does not"),
        ([{"retry": True}], [Draw], r"Draw reads the column 'shard'"),
        ([{"shard": 1}], [Draw, Write], r"Write reads the column 'images.score'"),
    ],
)
def test_a_missing_column_is_named_before_an_actor_starts(
    orders: list[dict[str, Any]], kinds: list[type[Draw]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        next(make(orders, chain(*kinds)))


def test_what_a_stage_does_not_write_on_is_gone() -> None:
    """A block is made anew by each stage: Score drops the pixels."""
    with pytest.raises(ValueError, match=r"Score reads the column 'images.pixels'.*which what Score writes"):
        check_chain({"shard", "images.pixels", "images.prompt"}, chain(Score, Score))


def test_the_flow_fits_together(configure: Configure) -> None:
    """That of a rescoring, and that each stage reads and writes what it says, is checked by `job.make_inline`."""
    config = configure()
    orders = make_request(3, retry=False)
    check_chain(orders, synth.stages(config, Storage.open(config.run.output), Tracker()))
    assert set(orders) == set(REQUEST)
