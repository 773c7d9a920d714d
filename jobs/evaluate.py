"""Compare interventions and settings on the embedded model, with the oracle as the judge.

    python jobs/evaluate.py --config jobs/configs/evaluate_embedded.toml           # hours on two cores
    python jobs/evaluate.py --config jobs/configs/evaluate_embedded.toml --quick   # few prompts, wide intervals
    python jobs/evaluate.py --config jobs/configs/evaluate_embedded.toml --set prompts.group_size=8
    python jobs/evaluate.py --config jobs/configs/evidence.toml                    # all methods and rivals

Writes report.json, report.md, report.html, figure.svg and images/ into the output folder. The same command resumes:
finished arms are kept.
"""

from __future__ import annotations

import sys

from pipelines import console
from pipelines.evaluation import config


def main(arguments: list[str] | None = None) -> int:
    def run(settings: config.EvaluationConfig) -> str:
        from pipelines.evaluation import flow  # it imports torch, which takes seconds: errors in the config show first

        return flow.run(settings)

    helps = {"config": "TOML file with the arms", "quick": "few prompts per set, into OUTPUT-quick"}
    return console.experiment(arguments, __doc__, helps, load=config.load, quick=config.quick, run=run)


if __name__ == "__main__":
    sys.exit(main())
