"""Export a finished dataset in another format: tars for training, a folder for the hub, image files with metadata.

    python jobs/export.py --dataset out/demo --to out/demo-tars --format webdataset
    python jobs/export.py --dataset out/demo --to out/demo-hf --format huggingface --license cc-by-4.0
    python jobs/export.py --dataset s3://bucket/run --to s3://bucket/tars --format webdataset --arm both --rejected

The same command continues an interrupted export; equal runs and options give equal bytes. Columns that jobs/score.py
has added are exported too. Exit status: 0 done, 2 wrong input or options, 130 or 143 stopped (run it again to
continue).
"""

from __future__ import annotations

import argparse
import re
import sys

from pipelines import console
from pipelines.dataset.content_credentials import ALGORITHMS, Credentials
from pipelines.errors import UserError
from pipelines.export.formats import FORMATS
from pipelines.export.parts import BY
from pipelines.pages.words import counted


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="output folder of a finished run: local or s3://bucket/folder")
    parser.add_argument("--to", required=True, metavar="PATH", help="folder of the export: local or s3://bucket/folder")
    parser.add_argument("--format", required=True, choices=[*FORMATS])
    parser.add_argument("--arm", action="append", default=[], metavar="NAME", help="images of this arm (default: all)")
    parser.add_argument("--rejected", action="store_true", help="also what selection dropped, as a config of its own")
    parser.add_argument("--embeddings", action="store_true", help="also the image vectors of the scorers")
    parser.add_argument("--scores", nargs="*", metavar="NAME", help="added scorers to include (default: all there are)")
    parser.add_argument(
        "--shard-bytes", type=int, default=500_000_000, metavar="N", help="most bytes of a file (default: %(default)s)"
    )
    parser.add_argument(
        "--split", action="append", default=[], metavar="NAME=SHARE", help="a part of its own, such as test=0.1"
    )
    parser.add_argument("--split-by", choices=BY, help=f"what no two splits share (default: {BY[0]})")
    parser.add_argument("--license", default="other", metavar="ID", help="for the card, as the hub names licences")
    parser.add_argument(
        "--no-mark", action="store_true", help="leave out the XMP that says in every image file that a model made it"
    )
    parser.add_argument(
        "--accept", default="", metavar="CONDITION", help="what images have to meet, as selection.accept of a run"
    )
    parser.add_argument(
        "--drop-repeats",
        type=float,
        default=1.0,
        metavar="COSINE",
        help="leave out images whose vectors are at least this similar to those of an earlier image of any group",
    )
    parser.add_argument(
        "--match-covariance",
        default="",
        metavar="FOLDER",
        help="choose --match-count images whose vectors vary as those of the real pictures in this local folder do",
    )
    parser.add_argument("--match-count", type=int, default=0, metavar="N", help="how many --match-covariance chooses")
    for part in ("certificate", "key"):
        parser.add_argument(
            f"--c2pa-{part}", default="", metavar="FILE", help=f"PEM file with the {part} that signs every image (C2PA)"
        )
    parser.add_argument(
        "--c2pa-algorithm", default=ALGORITHMS[0], choices=ALGORITHMS, help="of the key (default: %(default)s)"
    )
    parser.add_argument("--ray-address", default="", metavar="ADDRESS", help="Ray cluster for exports of many files")
    parser.add_argument(
        "--label", action="append", default=[], metavar="COLUMN", help="column with labels of images (default: concept)"
    )
    options = parser.parse_args(arguments)
    if options.label and not FORMATS[options.format].labelled:
        parser.error(f"--label: a {options.format} export has no labels but its columns")
    if options.split_by and not options.split:
        parser.error(f"--split-by {options.split_by}: there are no splits; name them with --split NAME=SHARE")
    if bool(options.match_covariance) != (options.match_count > 0):
        parser.error("--match-covariance FOLDER and --match-count N: give both, with N of 1 or more, or neither")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", options.license):
        parser.error(f"--license {options.license!r}: write an identifier of the hub, such as cc-by-4.0")
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from pipelines.config.tables import RayOptions
    from pipelines.dataset.storage import Storage
    from pipelines.export.flow import export
    from pipelines.export.labels import LABELS
    from pipelines.export.options import ExportOptions
    from pipelines.export.parts import parse

    wanted = {name: getattr(options, f"c2pa_{name}") for name in ("certificate", "key", "algorithm")}
    try:
        credentials = Credentials(**wanted) if options.c2pa_certificate or options.c2pa_key else None
    except ValueError as error:
        raise UserError(f"--c2pa: {error}") from error
    target = Storage.open(options.to)
    files = export(
        Storage.open(options.dataset),
        target,
        ExportOptions(
            format=options.format,
            arms=tuple(options.arm),
            rejected=options.rejected,
            embeddings=options.embeddings,
            scores=None if options.scores is None else tuple(options.scores),
            shard_bytes=options.shard_bytes,
            license=options.license,
            splits=parse(options.split, options.split_by or BY[0]),
            labels=tuple(options.label) or LABELS,
            mark=not options.no_mark,
            accept=options.accept,
            repeats=options.drop_repeats,
            match_covariance=options.match_covariance,
            match_count=options.match_count,
            credentials=credentials,
        ),
        RayOptions(address=options.ray_address, check_fit=False),
    )
    rows, size = sum(file.rows for file in files), sum(file.whole_bytes for file in files)
    count = sum(1 + len(file.beside) for file in files)
    print(f"{rows:,} images in {counted(count, 'file')}, {size / 1e6:,.1f} MB: {target.uri}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
