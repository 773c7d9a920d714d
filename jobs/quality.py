"""Measure a whole dataset: which images repeat others, across all groups, and how it covers a set of real pictures.

    python jobs/quality.py --dataset out/demo
    python jobs/quality.py --dataset out/demo --similarity 0.97 --reference photos/

Images are compared by the vectors of the run's scorer, all with all, and so are real pictures (precision, recall,
density and coverage of Naeem et al. 2020). Writes quality.json and repeats.parquet into --output. jobs/export.py
leaves repeats out with --drop-repeats. Exit status: 0 done, 2 wrong input or settings.
"""

from __future__ import annotations

import argparse
import sys

from pipelines import console
from pipelines.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="output folder of a finished run: local or s3://bucket/folder")
    parser.add_argument("--similarity", type=float, default=0.95, help="cosine of a repeat (default: %(default)s)")
    parser.add_argument("--rejected", action="store_true", help="also what selection dropped")
    parser.add_argument("--reference", default="", metavar="FOLDER", help="local folder of real pictures")
    parser.add_argument("--k", type=int, default=5, help="neighbour to which a ball reaches (default: %(default)s)")
    parser.add_argument("--output", help="folder of the results (default: the dataset with -quality)")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from pipelines.dataset.storage import Storage
    from pipelines.flows import quality

    try:
        wanted = quality.Wanted(
            similarity=options.similarity,
            rejected=options.rejected,
            reference=options.reference,
            k=options.k,
        )
    except ValueError as error:
        raise UserError(f"--{error}") from None
    output = Storage.open(options.output or f"{options.dataset.rstrip('/')}-quality")
    content = quality.run(Storage.open(options.dataset), output, wanted)
    print(console.quality(content))
    print(f"repeats: {output.path(quality.REPEATS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
