"""A chain of stages whose columns do not fit is refused before any of its actors starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelines.cluster import executor
from pipelines.cluster.executor import Columns, Stage, check_chain, running
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
    ("given", "through", "words"),
    [
        (
            ["shard"],
            [DRAW, SCORE],
            r"Score reads the column 'images.prompt' \(meaning of images.prompt\)",
        ),
        (["shard"], [WRITE], r"Write reads the column 'images.score' .* which what goes into the chain does not"),
        (["retry"], [DRAW], r"Draw reads the column 'shard'"),
        (["shard"], [DRAW, WRITE], r"Write reads the column 'images.score'"),
    ],
)
def test_a_missing_column_is_named_before_an_actor_starts(given: list[str], through: list[Stage], words: str) -> None:
    with pytest.raises(ValueError, match=words), running(given, through):
        pass


def test_what_a_stage_does_not_write_on_is_gone() -> None:
    """A block is made anew by each stage: Score drops the pixels."""
    with pytest.raises(ValueError, match=r"Score reads the column 'images.pixels'.*which what Score writes"):
        check_chain({"shard", "images.pixels", "images.prompt"}, [SCORE, SCORE])


@dataclass
class Instant:
    """In the place of an execution of Ray Data."""

    room: int = 5
    given: list[tuple[list[int], bool]] = field(default_factory=list)
    ended: bool = False

    def make(self, requests: list[dict[str, Any]], *, last: bool) -> Iterator[dict[str, Any]]:
        self.given.append(([request["shard"] for request in requests], last))
        self.room = 0 if last else self.room - len(requests)
        yield from requests

    def end(self) -> None:
        self.ended = True

    def close(self) -> None:
        assert self.ended


def test_actors_stay_until_ray_data_has_much_to_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    flows: list[Instant] = []

    def begun(through: list[Stage]) -> Instant:
        flows.append(Instant())
        return flows[-1]

    monkeypatch.setattr(executor, "_Flow", begun)
    requests = [{"shard": shard} for shard in range(9)]
    with running(["shard"], [DRAW]) as chain:
        for part, last in ((requests[:2], False), (requests[2:4], False), (requests[4:], True)):
            assert [*chain.make(part, last=last)] == part
    assert all(flow.ended for flow in flows)
    assert [flow.given for flow in flows] == [
        [([0, 1], False), ([2, 3], False), ([4], False)],
        [([5, 6, 7, 8], True)],
    ]


def test_the_flow_fits_together(configure: Configure) -> None:
    """That of a rescoring, and that each stage reads and writes what it says, is checked by `job.make_inline`."""
    config = configure()
    request = make_request(3, retry=False)
    check_chain(request, synth.stages(config, Storage.open(config.run.output), Tracker()))
    assert set(request) == set(REQUEST)
