"""Measure what made pictures are worth as training data: classifiers learn rare concepts of the embedded world from
them.

    python jobs/downstream.py --config jobs/configs/downstream.toml
    python jobs/downstream.py --config jobs/configs/downstream.toml --quick    # few concepts and pictures
    python jobs/downstream.py --config jobs/configs/downstream.toml --set made.each=16

Every source of pictures (a model with or without interventions, filters, selection) teaches classifiers the concepts of
which there are few real pictures or none; they are tested on real ones. Writes report.json, report.md, report.html and
figure.svg into the output folder. The same command resumes: finished pictures and trainings are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines import console
from pipelines.downstream import config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help="TOML file with the sources")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument("--quick", action="store_true", help="few concepts and pictures, into OUTPUT-quick")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    settings = config.load(options.config, options.set)
    if settings.recommended.warning:
        print(f"warning: {settings.recommended.warning}", file=sys.stderr)
    if options.quick:
        settings = config.quick(settings)
    from pipelines.downstream import flow  # it imports torch, which takes seconds: errors in the config show first

    print(f"report: {flow.run(settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
