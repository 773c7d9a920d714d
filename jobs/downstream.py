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

import sys

from pipelines import console
from pipelines.downstream import config


def main(arguments: list[str] | None = None) -> int:
    def run(settings: config.DownstreamConfig) -> str:
        from pipelines.downstream import flow  # it imports torch, which takes seconds: errors in the config show first

        return flow.run(settings)

    helps = {"config": "TOML file with the sources", "quick": "few concepts and pictures, into OUTPUT-quick"}
    return console.experiment(arguments, __doc__, helps, load=config.load, quick=config.quick, run=run)


if __name__ == "__main__":
    sys.exit(main())
