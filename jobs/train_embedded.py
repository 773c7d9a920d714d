"""Train the embedded model: autoencoder, oracle, scorer, the MM-DiT in two phases, and its LoRA for four steps.

    python jobs/train_embedded.py                       # everything that is not done yet
    python jobs/train_embedded.py --stages oracle scorer
    python jobs/train_embedded.py --work out/embedded --weights out/weights
    python jobs/train_embedded.py --warm-start --steps 4000 --stages mmdit-clean mmdit-noisy export   # better weights

It may be stopped at any time: checkpoints are written every few minutes, and the same command continues from the last
one. On 2 CPU cores the whole recipe takes hours; every stage shows the remaining time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.embedded import WEIGHTS
from models.embedded.training.recipe import Recipe, prepare_threads


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = list(Recipe(Path()).stages)
    parser.add_argument("--stages", nargs="+", choices=stages, default=stages, help="which stages, in this order")
    parser.add_argument("--work", type=Path, default=Path("out/embedded"), help="data and checkpoints")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the trained weights go")
    parser.add_argument("--warm-start", action="store_true", help="go on from the weights, where checkpoints are gone")
    parser.add_argument("--steps", type=int, default=0, help="of an MM-DiT phase; 0 takes the recipe's number")
    parser.add_argument("--device", default="cpu", help="torch device of the stage turbo; the others run on the CPU")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 takes all")
    options = parser.parse_args(arguments)
    prepare_threads(options.threads)
    recipe = Recipe(options.work, options.weights, options.warm_start, options.steps, options.device)
    for stage in options.stages:
        recipe.stages[stage]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
