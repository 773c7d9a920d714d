"""Find settings of TORA and repulsion for a model: a few groups at each of several, measured, and one of them chosen.

    python jobs/calibrate.py --config jobs/configs/demo.toml
    python jobs/calibrate.py --config jobs/configs/demo.toml --set calibration.depth=true    # in which blocks, too
    python jobs/calibrate.py --config jobs/configs/demo.toml --set calibration.sigmas=[1.5] --set calibration.prompts=4
    python jobs/calibrate.py --model ./my-fine-tune --prompts prompts.txt --scorer ViT-B-32:openai

Writes calibration.html (curves, pictures), report.json, chosen.toml (to lie beside the model's folder or, where LoRAs
acted, beside the last of them, under its name) and run.toml (for jobs/synth.py --config) into --output. The same
command goes on where it was stopped.
Exit status: 0 done, 1 pictures blew up in every setting, 2 wrong input or settings, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipelines import console
from pipelines.calibration import config
from pipelines.config import toml
from pipelines.config.scorers import open_clip_table
from pipelines.flows.warnings import of_model


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="TOML file of a run; it may have a table [calibration]")
    what.add_argument("--model", help="folder or hub id of a model, with --prompts and --scorer")
    parser.add_argument("--prompts", help="file with prompts, with --model")
    parser.add_argument("--scorer", help="open_clip model and weights, such as ViT-B-32:openai, with --model")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument("--output", help="folder of the results (default: run.output with -calibration)")
    options = parser.parse_args(arguments)
    if options.model and not (options.prompts and options.scorer):
        parser.error("--model needs --prompts and --scorer")
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    settings = config.load(options.config, options.set) if options.config else _of_model(options)
    for warning in of_model(settings.run):
        print(f"warning: {warning}", file=sys.stderr)
    from pipelines.dataset.storage import Storage
    from pipelines.flows import calibrate  # it imports torch, which takes seconds: errors in the config show first

    output = Storage.open(options.output or f"{settings.run.run.output.rstrip('/')}-calibration")
    made = calibrate.run(settings, output)
    print(console.calibrated(made))
    return 1 if made.content.chosen is None else 0


def _of_model(options: argparse.Namespace) -> config.CalibrationConfig:
    tables: dict[str, Any] = {
        "run": {"output": f"out/{Path(options.model).name}"},
        "prompts": {"path": options.prompts},
        "model": {"path": options.model},
        "scoring": open_clip_table(options.scorer),
    }
    for text in options.set:
        toml.override(tables, text)
    return config.build(tables, file="--model")


if __name__ == "__main__":
    sys.exit(main())
