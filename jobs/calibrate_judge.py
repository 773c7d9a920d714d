"""Judge the judges: how well rules over scores tell good images from bad ones, and the threshold for a precision.

    python jobs/calibrate_judge.py --dataset out/demo --labels labels.csv
    python jobs/calibrate_judge.py --dataset out/demo --labels labels.csv --precision 0.95 --rule clip_margin
    python jobs/calibrate_judge.py --dataset out/demo --oracle

Labels are a CSV file with the columns image_id and label (1 or 0, yes or no, right or wrong); a hundred images of
twenty prompts are a beginning. --oracle has the embedded world's own oracle look. Without --rule all columns of scores
are measured, those of jobs/score.py too. Writes judges.html and report.json into --output, and prints the settings.
Exit status: 0 done, 1 no rule has this precision, 2 wrong input or settings.
"""

from __future__ import annotations

import argparse
import sys

from pipelines import console
from pipelines.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="output folder of a finished run: local or s3://bucket/folder")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--labels", default="", metavar="FILE", help="CSV file with the columns image_id and label")
    whose.add_argument("--oracle", action="store_true", help="labels of the embedded world's oracle")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="EXPRESSION", help="a number or a condition over columns"
    )
    parser.add_argument("--precision", type=float, default=0.9, help="share of good ones (default: %(default)s)")
    parser.add_argument("--output", help="folder of the results (default: the dataset with -judges)")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from pipelines.dataset.storage import Storage
    from pipelines.flows import calibrate_judge

    try:
        wanted = calibrate_judge.Wanted(labels=options.labels, rules=tuple(options.rule), precision=options.precision)
    except ValueError as error:
        raise UserError(f"--{error}") from None
    output = Storage.open(options.output or f"{options.dataset.rstrip('/')}-judges")
    made = calibrate_judge.run(Storage.open(options.dataset), output, wanted)
    print(console.judged(made))
    return 1 if made.content.chosen is None else 0


if __name__ == "__main__":
    sys.exit(main())
