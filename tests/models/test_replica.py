"""A replica's processes: killed, hung and unwanted ones, and what comes out nevertheless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import PromptError
from models.generator import Generator
from models.interventions.tora.config import ToraConfig
from models.parallel.division import Ranks
from models.replica.replica import Replica, _Process
from models.spec import Group, ModelSpec
from tests.conftest import ROOT
from tests.support.ranks import gone
from tests.support.small_groups import REPULSION, SAMPLING, TORA, group

GROUP = group(interventions=(TORA, REPULSION))


@pytest.fixture(scope="module")
def replica(tiny_pipeline: str) -> Iterator[Replica]:
    spec = ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu")
    with Replica(spec, Ranks(count=2, parallelism="group", threads=1, timeout_s=20)) as replica:
        yield replica


@pytest.fixture(scope="module")
def undisturbed(replica: Replica) -> Any:
    return replica.generate([GROUP])


def pids(replica: Replica) -> list[int]:
    return [rank.pid for rank in replica._ranks]


def at_step(number: int, act: Callable[[], object]) -> Callable[[int, int], None]:
    """A step callback that acts once."""
    acts = iter([act])

    def step(done: int, of: int) -> None:
        if done == number:
            next(acts, lambda: None)()

    return step


def test_it_makes_what_a_generator_makes(replica: Replica, undisturbed: Any, tiny_pipeline: str) -> None:
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu"))
    # Ranks have a part of the images each: nobody can show them on the way.
    assert replica.info == replace(generator.info, previews=False)
    (expected,) = generator.generate([GROUP])
    assert np.abs(undisturbed[0].astype(int) - expected.astype(int)).max() <= 1


def test_what_is_compared_is_not_stock(replica: Replica, undisturbed: Any) -> None:
    (stock,) = replica.generate([replace(GROUP, interventions=())])
    for acting in GROUP.interventions:
        (made,) = replica.generate([replace(GROUP, interventions=(acting,))])
        assert np.abs(made.astype(int) - stock.astype(int)).max() > 1
    assert np.abs(undisturbed[0].astype(int) - stock.astype(int)).max() > 1


def test_what_all_ranks_refuse_costs_no_rank(replica: Replica) -> None:
    before = pids(replica)
    with pytest.raises(PromptError, match="tokens longer"):
        replica.generate([Group(prompt="x" * 40, seeds=(1, 2), sampling=SAMPLING)])
    assert pids(replica) == before


def test_a_batch_that_nobody_wants_stops_at_its_step(replica: Replica, undisturbed: Any) -> None:
    seen = []

    def enough(done: int, of: int) -> None:
        seen.append(done)
        if done == 2:
            raise InterruptedError("enough")

    before = pids(replica)
    with pytest.raises(InterruptedError, match="enough"):
        replica.generate([GROUP], enough)
    assert max(seen) <= 3  # a step may have begun meanwhile
    assert pids(replica) == before
    assert np.array_equal(replica.generate([GROUP]), undisturbed)


@pytest.mark.parametrize(("rank", "sent"), [(1, signal.SIGKILL), (0, signal.SIGSTOP)])
def test_a_lost_rank_costs_one_retry_and_no_byte(
    replica: Replica, undisturbed: Any, rank: int, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = replace(replica._assignment.ranks, timeout_s=5.0 if sent == signal.SIGSTOP else 20.0)
    patient = replace(replica._assignment, ranks=patience)
    monkeypatch.setattr(replica, "_assignment", patient)
    before = pids(replica)
    steps: list[int] = []
    act = at_step(2, lambda: os.kill(before[rank], sent))

    def step(done: int, of: int) -> None:
        steps.append(done)
        act(done, of)

    assert np.array_equal(replica.generate([GROUP], step), undisturbed)
    assert steps.count(1) == 2  # begun twice
    assert all(gone(pid) for pid in before)
    assert not set(pids(replica)) & set(before)


def test_ranks_that_die_while_they_load_are_started_once_more(
    tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    send = _Process.send

    def send_and_die(process: _Process, message: object) -> None:
        send(process, message)
        started.append(process.pid)
        if len(started) == 2:
            os.kill(process.pid, signal.SIGKILL)

    monkeypatch.setattr(_Process, "send", send_and_die)
    with Replica(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu"), Ranks(count=2, threads=1)) as replica:
        assert pids(replica) == started[2:]
        folder = Path(replica._folder)
        assert folder.is_dir()  # NCCL meets there again when a collective is first used
    assert not folder.exists()
    assert all(gone(pid) for pid in started)


def test_no_rank_outlives_its_owner(tiny_pipeline: str) -> None:
    """The owner is killed without a chance to clean up, as Ray and the kernel kill."""
    code = f"""
import time
from models.parallel.division import Ranks
from models.replica.replica import Replica
from models.spec import ModelSpec
replica = Replica(ModelSpec(path={tiny_pipeline!r}, dtype="float32", device="cpu"), Ranks(count=2, threads=1))
print(replica._folder, *[rank.pid for rank in replica._ranks], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder, *ranks = owner.stdout.readline().split()
        owner.kill()
    assert len(ranks) == 2
    assert all(gone(int(pid)) for pid in ranks)
    assert not Path(folder).exists()


def test_ranks_know_the_interventions_of_plugins(
    tiny_pipeline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings come with the groups, but what registers it lies in another module, which this process needs not."""
    (tmp_path / "quieter_settings.py").write_text("""
from dataclasses import dataclass
from models.spec import InterventionConfig

@dataclass(frozen=True, kw_only=True)
class QuieterConfig(InterventionConfig):
    factor: float = 0.5
""")
    (tmp_path / "quieter.py").write_text("""
from models.interventions.base import Intervention, TextEdit
from models.interventions.registry import register
from quieter_settings import QuieterConfig

def begin(config, run):
    change = lambda text: text * config.factor
    return [TextEdit(site="block input", change=change, blocks=range(run.blocks), steps=range(run.steps))]

register(Intervention(name="quieter", title="quieter", purpose="", meaning="", config=QuieterConfig, begin=begin))
""")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = import_module("quieter_settings").QuieterConfig()
    spec = ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu")
    with Replica(spec, Ranks(count=2, threads=1, plugins=("quieter",))) as replica:
        plain, changed = (
            replica.generate([replace(GROUP, interventions=configs)])[0] for configs in ((), (config, ToraConfig()))
        )
        assert not np.array_equal(plain, changed)
