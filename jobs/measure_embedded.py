"""Measure the embedded model: all numbers of its card, with 95 % intervals.

    python jobs/measure_embedded.py                  # about half an hour on 2 cores
    python jobs/measure_embedded.py --images 2 --held-out 300
    python jobs/measure_embedded.py --parts turbo    # a few minutes; the other numbers stay

Writes the numbers to `measures.json` and the model card, `README.md`, beside the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from models.embedded import SAMPLING, TURBO, TURBO_SAMPLING, WEIGHTS
from models.embedded.oracle import Oracle
from models.embedded.pictures import pictures
from models.embedded.promptset import open_prompts, world_prompts
from models.embedded.training import quality
from models.embedded.training.card import write_card
from models.embedded.training.data import rendered_set
from models.generator import Generator
from models.scorers.clip import ClipScorer
from models.spec import ModelSpec
from models.statistics import Estimate, bootstrap

_HELD_OUT_SEED = 9
"""Seed of renders that were not used to choose a training run."""


PARTS = ("oracle", "autoencoder", "scorer", "model", "turbo", "variety")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--work", type=Path, default=Path("out/embedded"), help="where held-out renders are kept")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others keep their numbers")
    parser.add_argument("--images", type=int, default=8, help="pictures per prompt")
    parser.add_argument("--held-out", type=int, default=2000, help="held-out renders")
    options = parser.parse_args(arguments)
    file = options.weights / "measures.json"
    rows = {name: Estimate(**row) for name, row in json.loads(file.read_text()).items()} if file.exists() else {}
    for name, estimate in _measured(options):
        rows[name] = estimate
        print(f"{name:60s} {estimate}", flush=True)
    file.write_text(json.dumps({name: asdict(estimate) for name, estimate in rows.items()}, indent=2) + "\n")
    write_card(options.weights, rows)
    return 0


def _measured(options: argparse.Namespace) -> Iterator[tuple[str, Estimate]]:
    parts = {*options.parts}
    held_out = rendered_set(
        options.work / "data", "balanced", count=options.held_out, seed=_HELD_OUT_SEED, balanced=True
    )
    oracle = Oracle(options.weights / "oracle.safetensors")
    model = ModelSpec(path=str(options.weights / "pipeline"), dtype="bfloat16")
    if "oracle" in parts:
        for attribute, estimate in quality.oracle_accuracy(oracle, held_out).items():
            yield f"oracle accuracy: {attribute}", estimate
    turbo = replace(TURBO, path=str(options.weights / "turbo"))
    drawn = {"model": ("", model, SAMPLING), "turbo": (", turbo", replace(model, loras=(turbo,)), TURBO_SAMPLING)}
    loaded = cache(Generator)  # none that no part asks for
    if "autoencoder" in parts:
        yield "autoencoder PSNR in dB", quality.reconstruction_psnr(loaded(model), held_out.images[:500])
    if "scorer" in parts:
        scorer = ClipScorer(f"local-dir:{options.weights / 'clip'}")
        yield "scorer picks the caption among 16", quality.caption_choice(scorer, held_out)
    for part in (part for part in drawn if part in parts):
        name, spec, sampling = drawn[part]
        for rarity in quality.RARITIES:
            for scenes, prompts in world_prompts(rarity).items():
                texts = [prompt.prompt for prompt in prompts]
                made = pictures(loaded(spec), texts, sampling, images=options.images)
                right = bootstrap(quality.success(oracle, texts, made))
                yield f"all named attributes right{name}: {rarity}, {scenes}", right
    if "variety" in parts:
        for name, spec, sampling in drawn.values():
            texts = list(open_prompts())
            vendi, distinct = quality.variety(oracle, texts, pictures(loaded(spec), texts, sampling, images=4))
            yield f"average-pair Vendi score of 4 pictures of an open prompt{name}", vendi
            yield f"distinct values of an open attribute in 4 pictures of an open prompt{name}", distinct


if __name__ == "__main__":
    sys.exit(main())
