"""The papers' figures of a model: lines through two samples, TORA's spacing, and maps of attention to a rare word.

    python jobs/figures.py                       # of the embedded model, in a minute or two
    python jobs/figures.py --quick
    python jobs/figures.py --config run.toml --prompts "a hairy frog" "a plaid fire truck" --words hairy

Takes model, sampling and TORA's settings from the TOML file of a run. Writes figures.html (one self-contained page),
figures.json (the numbers) and images/ into --output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.embedded import WEIGHTS
from models.embedded.captions import named_attributes
from models.embedded.promptset import world_prompts
from models.interventions.tora.config import ToraConfig
from pipelines import console
from pipelines.config.load import load
from pipelines.figures.config import Figures

_DEMO = Path(__file__).parent / "configs" / "demo.toml"
_PROMPTS = 6


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=_DEMO, help="TOML file of a run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument("--prompts", nargs="+", help="of the sweep; the first also of the lines and the maps")
    parser.add_argument("--words", default="", help="of the first prompt, whose attention is shown, with commas")
    parser.add_argument("--output", default="out/figures", help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="fewer prompts, seeds and spacings")
    options = parser.parse_args(arguments)
    if bool(options.prompts) != bool(options.words):
        parser.error("--prompts and --words go together")
    if not options.prompts and options.config != _DEMO:
        parser.error("--config needs --prompts and --words")
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    config = load(options.config, options.set)
    prompts, words = _never_seen() if not options.prompts else (tuple(options.prompts), options.words)
    embedded = Path(config.model.path).resolve() == (WEIGHTS / "pipeline").resolve()
    oracle = str(WEIGHTS / "oracle.safetensors") if embedded and all(map(_in_the_world, prompts)) else ""
    tora = config.interventions["tora"]
    assert isinstance(tora, ToraConfig)
    figures = Figures(prompts=prompts, words=words, oracle=oracle, sigmas=_sigmas(tora.sigma, 6))
    if options.quick:
        figures = Figures(
            prompts=prompts[:2],
            words=words,
            oracle=oracle,
            seeds=(1, 2),
            sigmas=_sigmas(tora.sigma, 3),
            shares=(0.0, 0.5, 1.0, 1.5),
        )
    from pipelines.dataset.storage import Storage
    from pipelines.figures import flow  # it imports torch, which takes seconds: errors in the config show first

    print(f"figures: {flow.run(config, figures, Storage.open(options.output))}")
    return 0


def _sigmas(own: float, count: int) -> tuple[float, ...]:
    """From no spacing to that of the run, and to 2 at least, as in the paper's figure."""
    return tuple(round(1.0 + (max(own, 2.0) - 1.0) * number / (count - 1), 2) for number in range(count))


def _never_seen() -> tuple[tuple[str, ...], str]:
    """Prompts of pairs that the embedded model has never seen, at even distances, and the attribute of the first."""
    every = world_prompts("unseen")["single"]
    chosen = every[:: max(1, len(every) // _PROMPTS)][:_PROMPTS]
    return tuple(one.prompt for one in chosen), chosen[0].concept.split()[0]


def _in_the_world(prompt: str) -> bool:
    try:
        named_attributes(prompt)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
