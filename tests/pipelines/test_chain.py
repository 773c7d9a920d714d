"""A chain of stages whose columns do not fit is refused before any of its actors starts."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.cluster.executor import Columns, Stage, check_chain, make
from pipelines.cluster.progress import Tracker
from pipelines.dataset.storage import Storage
from pipelines.flows import synth
from pipelines.stages.block import REQUEST, make_request
from tests.conftest import Configure


def columns(*names: str) -> Columns:
    return {name: f"meaning of {name}" for name in names}


class Unused:
    """Must not be constructed."""

    def __init__(self) -> None:
        raise AssertionError("an actor was constructed")


class Draw(Unused): ...


class Score(Unused): ...


class Write(Unused): ...


def stage(kind: type, reads: Columns, writes: Columns) -> Stage:
    return Stage(kind=kind, arguments={}, reads=reads, writes=writes, workers=1, cpus=1.0)


DRAW = stage(Draw, columns("shard"), columns("shard", "images.pixels"))
SCORE = stage(Score, columns("images.pixels", "images.prompt"), columns("shard", "images.score"))
WRITE = stage(Write, columns("images.score"), columns("shard"))


@pytest.mark.parametrize(
    ("orders", "through", "words"),
    [
        (
            [{"shard": 1}],
            [DRAW, SCORE],
            r"Score reads the column 'images.prompt' \(meaning of images.prompt\)",
        ),
        ([{"shard": 1}], [WRITE], r"Write reads the column 'images.score' .* which what goes into the chain does not"),
        ([{"retry": True}], [DRAW], r"Draw reads the column 'shard'"),
        ([{"shard": 1}], [DRAW, WRITE], r"Write reads the column 'images.score'"),
    ],
)
def test_a_missing_column_is_named_before_an_actor_starts(
    orders: list[dict[str, Any]], through: list[Stage], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        next(make(orders, through))


def test_what_a_stage_does_not_write_on_is_gone() -> None:
    """A block is made anew by each stage: Score drops the pixels."""
    with pytest.raises(ValueError, match=r"Score reads the column 'images.pixels'.*which what Score writes"):
        check_chain({"shard", "images.pixels", "images.prompt"}, [SCORE, SCORE])


def test_the_flow_fits_together(configure: Configure) -> None:
    """That of a rescoring, and that each stage reads and writes what it says, is checked by `job.make_inline`."""
    config = configure()
    request = make_request(3, retry=False)
    check_chain(request, synth.stages(config, Storage.open(config.run.output), Tracker()))
    assert set(request) == set(REQUEST)
