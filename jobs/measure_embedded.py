"""Measure the embedded model: all numbers of its card, with 95 % intervals.

    python jobs/measure_embedded.py                  # about half an hour on 2 cores
    python jobs/measure_embedded.py --images 2 --held-out 300

Writes the numbers to `measures.json` and the model card, `README.md`, beside the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from models.embedded import SAMPLING, WEIGHTS
from models.embedded.oracle import Oracle
from models.embedded.pictures import pictures
from models.embedded.promptset import world_prompts
from models.embedded.training import quality
from models.embedded.training.card import write_card
from models.embedded.training.data import rendered_set
from models.generator import Generator
from models.scorers.clip import ClipScorer
from models.spec import ModelSpec
from models.statistics import Estimate, bootstrap

_HELD_OUT_SEED = 9
"""Seed of renders that were not used to choose a training run."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--work", type=Path, default=Path("out/embedded"), help="where held-out renders are kept")
    parser.add_argument("--images", type=int, default=8, help="pictures per prompt")
    parser.add_argument("--held-out", type=int, default=2000, help="held-out renders")
    options = parser.parse_args(arguments)
    rows: dict[str, Estimate] = {}

    def show(name: str, estimate: Estimate) -> None:
        rows[name] = estimate
        print(f"{name:44s} {estimate}", flush=True)

    held_out = rendered_set(
        options.work / "data", "balanced", count=options.held_out, seed=_HELD_OUT_SEED, balanced=True
    )
    oracle = Oracle(options.weights / "oracle.safetensors")
    for attribute, estimate in quality.oracle_accuracy(oracle, held_out).items():
        show(f"oracle accuracy: {attribute}", estimate)
    generator = Generator(ModelSpec(path=str(options.weights / "pipeline"), dtype="bfloat16"))
    show("autoencoder PSNR in dB", quality.reconstruction_psnr(generator, held_out.images[:500]))
    scorer = ClipScorer(f"local-dir:{options.weights / 'clip'}")
    show("scorer picks the caption among 16", quality.caption_choice(scorer, held_out))
    for rarity in quality.RARITIES:
        for scenes, prompts in world_prompts(rarity).items():
            texts = [prompt.prompt for prompt in prompts]
            made = pictures(generator, texts, SAMPLING, images=options.images)
            show(f"all named attributes right: {rarity}, {scenes}", bootstrap(quality.success(oracle, texts, made)))
    text = json.dumps({name: asdict(estimate) for name, estimate in rows.items()}, indent=2) + "\n"
    (options.weights / "measures.json").write_text(text)
    write_card(options.weights, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
