"""Every documented command is run by a test, understood by the program it calls, or marked as needing a cluster."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.benchmarks import parallel
from models.parallel.division import UNDIVIDED
from tests.conftest import ROOT
from tests.support.docs import BLOCK, GUIDES, INFRA, JOB, README, plain_blocks


def test_every_command_for_a_cluster_is_run_or_says_what_it_needs() -> None:
    """What is marked `test` is run by test_cluster.py."""
    marked = BLOCK.findall(INFRA)
    assert [kind for kind, _, _ in marked].count("test") == 1
    assert plain_blocks(INFRA) == [body for _, _, body in marked]


def test_every_other_command_is_one_of_ours() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [block for block in plain_blocks(README) if not block.startswith("out/")]  # the output's tree
    for line in "".join(commands).splitlines():
        program, argument = line.split()[:2]
        assert (program == "make" and argument in targets) or JOB.search(line), line


class _Parsed(Exception):
    """The arguments were understood."""


@pytest.mark.parametrize("text", [*GUIDES.values(), *(file.read_text() for file in sorted(ROOT.glob("jobs/*.py")))])
def test_jobs_understand_their_arguments(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, *args: Any) -> None:
        parse(parser, *args)
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    for name, words in JOB.findall(text):
        arguments = [word.strip("`.,;)") for word in words.split()]
        if not arguments or arguments[-1] == "--help":
            continue
        with pytest.raises(_Parsed):
            importlib.import_module(f"jobs.{name}").main(arguments)
        for file in arguments:
            assert not file.startswith("jobs/") or Path(ROOT, file).exists()


def test_the_costs_are_those_of_the_cost_model() -> None:
    """Images per dollar at the stated prices: prices change, and nothing here knows them."""
    table = re.findall(r"^\| `[\w.]+` \| (?:(\d+) x )?(\w+), .+? \| ([\d.]+) \| .+? \| (\d+) \| (\d+) \|$", INFRA, re.M)
    assert len(table) == 2
    tflops = {gpu: float(speed) for speed, gpu in re.findall(r"(\d+)(?: TFLOP/s)? on an (\w+)", INFRA)}
    for count, gpu, price, *stated in table:
        machine = parallel.Machine(flops=tflops[gpu] * 1e12, bandwidth=1e9, latency=0.0)
        for model, images in zip(parallel.MODELS, stated, strict=False):
            seconds = parallel.cost(model, UNDIVIDED, 1, machine, tora=True, repulsion=True).seconds
            assert round(3600 / seconds / (float(price) / int(count or 1))) == int(images)
