"""Measure repulsion by words: in "a red thing on night" the thing is to vary, and red and night are to stay.

    python jobs/measure_words.py                      # about ten minutes on 2 cores
    python jobs/measure_words.py --limit 2 --images 2
    python jobs/measure_words.py --config run.toml    # model, sampling and repulsion of a run

Prints a table in Markdown, a row for each way to push; the oracle of the embedded world reads the pictures. Brackets
are 95 % intervals from resampling prompts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.embedded.attributes import NAMES
from models.embedded.captions import agreement, named_attributes, with_article
from models.embedded.oracle import Oracle, Reading
from models.embedded.world import BACKGROUNDS, COLOURS
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.seeds import image_seed
from models.spec import Group
from models.statistics import bootstrap
from pipelines import console
from pipelines.config.load import load
from pipelines.config.run import RunConfig

_OPEN = ("shape_0", "texture_0", "size", "position")
_DEMO = Path(__file__).parent / "configs" / "demo.toml"


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A prompt, what is to vary in it, and what is to stay."""

    prompt: str
    """In the grammar of `models.embedded.captions`."""
    vary: str
    """As `RepulsionConfig.vary_words`."""
    keep: str
    """As `RepulsionConfig.keep_words`."""


def cues(limit: int) -> Iterator[Cue]:
    """Prompts that name a colour and a background and leave the shape open, at even distances.

    limit: how many.
    """
    every = [*product(COLOURS, BACKGROUNDS)]
    for place in np.linspace(0, len(every) - 1, min(limit, len(every))):
        colour, background = every[round(place)]
        yield Cue(
            prompt=f"{with_article(f'{colour} thing')} on {background}", vary="thing", keep=f"{colour}, {background}"
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=_DEMO, help="TOML file of a run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument("--limit", type=int, default=24, help="prompts, at most 48")
    parser.add_argument("--images", type=int, default=4, help="pictures of each, 2 or more")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    config = load(options.config, options.set)
    generator, oracle = Generator(config.model), Oracle()
    wanted = [*cues(options.limit)]
    print(f"{len(wanted)} prompts such as {wanted[0].prompt!r}, {options.images} pictures of each\n")
    distinct_of = " | ".join(f"distinct {attribute.removesuffix('_0')}s" for attribute in _OPEN)
    print(f"| repulsion pushes | named attributes right, % | {distinct_of} |")
    print("| --- " * (2 + len(_OPEN)) + "|", flush=True)
    for name in ("nothing", "the whole text", "all but the named attributes", "the word for what is open"):
        readings = [oracle.read(_drawn(generator, config, cue, name, options.images)) for cue in wanted]
        right = bootstrap([100 * _right(cue.prompt, one) for cue, one in zip(wanted, readings, strict=True)])
        distinct = [bootstrap([_distinct(one, attribute) for one in readings]) for attribute in _OPEN]
        print(f"| {name} | {' | '.join(map(str, [right, *distinct]))} |", flush=True)
    return 0


def _drawn(generator: Generator, config: RunConfig, cue: Cue, pushes: str, images: int) -> NDArray[np.uint8]:
    repulsion = config.interventions["repulsion"]
    assert isinstance(repulsion, RepulsionConfig)
    acting = {
        "nothing": (),
        "the whole text": (repulsion,),
        "all but the named attributes": (replace(repulsion, keep_words=cue.keep),),
        "the word for what is open": (replace(repulsion, vary_words=cue.vary),),
    }[pushes]
    seeds = tuple(image_seed(config.run.seed, cue.prompt, number) for number in range(images))
    group = Group(prompt=cue.prompt, seeds=seeds, sampling=config.sampling, interventions=acting)
    return generator.generate([group])[0]


def _right(prompt: str, reading: Reading) -> NDArray[np.float64]:
    """The share of the named attributes that each picture shows."""
    named = named_attributes(prompt)
    return np.array([np.mean([*agreement(named, labels).values()]) for labels in reading.labels])


def _distinct(reading: Reading, attribute: str) -> NDArray[np.float64]:
    return np.array([float(len(np.unique(reading.labels[:, NAMES.index(attribute)])))])


if __name__ == "__main__":
    sys.exit(main())
