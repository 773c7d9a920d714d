"""Measure edits by the embedded model: image to image at several denoising strengths, read by the oracle.

    python jobs/measure_edits.py                     # about half an hour on 2 cores
    python jobs/measure_edits.py --limit 2 --images 1 --strengths 0.8 0.9

An edit is to change one attribute of a picture and to keep all others (models/embedded/edits.py). Prints a table in
Markdown, a row for each strength without interventions and with TORA as recommended; brackets are 95 % intervals from
resampling edits. The recommended strength is the one with the most exact edits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from models.embedded import SAMPLING, WEIGHTS
from models.embedded.edits import Judged, WorldEdit, edits, judge, pictures_of
from models.embedded.oracle import Oracle
from models.embedded.world import Rarity
from models.generator import Generator
from models.spec import InterventionConfig, ModelSpec
from models.statistics import Estimate, bootstrap
from pipelines.config.recommended import settings_of

_PIPELINE = str(WEIGHTS / "pipeline")
_RARITIES: tuple[Rarity, ...] = ("common", "rare", "unseen")
_STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strengths", type=float, nargs="+", default=_STRENGTHS, help="denoising strengths")
    parser.add_argument("--limit", type=int, default=6, help="edits of each kind and rarity")
    parser.add_argument("--images", type=int, default=2, help="pictures of each edit")
    options = parser.parse_args(arguments)
    generator, oracle = Generator(ModelSpec(path=_PIPELINE, dtype="float32")), Oracle()
    tora = settings_of(_PIPELINE).interventions["tora"]
    wanted = {rarity: [*_edits(rarity, options.limit)] for rarity in _RARITIES}
    counted = ", ".join(f"{len(of)} {rarity}" for rarity, of in wanted.items())
    print(f"{counted}; {options.images} pictures of each\n")
    print("| interventions | strength | changed: " + " | changed: ".join(_RARITIES) + " | kept | exact |")
    print("| --- " * (5 + len(_RARITIES)) + "|", flush=True)
    for strength in options.strengths:
        for name, acting in (("none", ()), ("TORA", (tora,))):
            judged = {
                rarity: [*_judged(generator, oracle, of, strength, options.images, acting)]
                for rarity, of in wanted.items()
            }
            every = [one for of in judged.values() for one in of]
            changed = [bootstrap([one.changed for one in of]) for of in judged.values()]
            cells = [*changed, bootstrap([one.kept for one in every]), bootstrap([one.exact for one in every])]
            print(f"| {name} | {strength:g} | {' | '.join(map(_percent, cells))} |", flush=True)
    return 0


def _edits(rarity: Rarity, limit: int) -> Iterator[WorldEdit]:
    """Of colours and textures of one thing, and of colours of one of two: each kind at even distances."""
    for every in (edits("colour", rarity), edits("texture", rarity), edits("colour", rarity, two=True)):
        found = [*every]
        places = np.linspace(0, len(found) - 1, min(limit, len(found)))
        yield from (found[round(place)] for place in places)


def _judged(
    generator: Generator,
    oracle: Oracle,
    wanted: Sequence[WorldEdit],
    strength: float,
    images: int,
    acting: tuple[InterventionConfig, ...],
) -> Iterator[Judged]:
    sampling = replace(SAMPLING, denoising_strength=strength)
    made = pictures_of(generator, wanted, sampling, images=images, interventions=acting)
    for edit, pixels in zip(wanted, made, strict=True):
        yield judge(edit, oracle.read(pixels))


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.0f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


if __name__ == "__main__":
    sys.exit(main())
