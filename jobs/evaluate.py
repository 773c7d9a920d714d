"""Compare interventions and settings on the embedded model, with the oracle as the judge.

    python jobs/evaluate.py --config jobs/configs/evaluate_embedded.toml           # hours on two cores
    python jobs/evaluate.py --config jobs/configs/evaluate_embedded.toml --quick   # few prompts, wide intervals
    python jobs/evaluate.py --config jobs/configs/evaluate_embedded.toml --set prompts.group_size=8
    python jobs/evaluate.py --config jobs/configs/evidence.toml                    # all methods and rivals

Writes report.json, report.md, report.html and images/ into the output folder. The same command resumes: finished arms
are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines import console
from pipelines.evaluation import config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help="TOML file with the arms")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one setting")
    parser.add_argument("--quick", action="store_true", help="few prompts per set, into OUTPUT-quick")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    settings = config.load(options.config, options.set)
    if settings.recommended.warning:
        print(f"warning: {settings.recommended.warning}", file=sys.stderr)
    if options.quick:
        settings = config.quick(settings)
    from pipelines.evaluation import flow  # it imports torch, which takes seconds: errors in the config show first

    print(f"report: {flow.run(settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
