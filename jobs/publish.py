"""Publish an export: a dataset of the Hugging Face hub, or a bucket.

    python jobs/publish.py --export out/demo-hf --to OWNER/NAME
    python jobs/publish.py --export out/demo-tars --to s3://bucket/folder

A dataset of the hub is made private unless --public is given. The token is that of HF_TOKEN or of `hf auth login`. The
same command goes on where an interrupted one stopped; what is there is not sent again, and at the end all is checked.
Exit status: 0 done, 2 wrong input or options, 130 or 143 stopped (run it again to continue).
"""

from __future__ import annotations

import argparse
import sys

from pipelines import console


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", required=True, metavar="PATH", help="folder of an export: local or s3://")
    parser.add_argument(
        "--to",
        required=True,
        metavar="PLACE",
        help="OWNER/NAME or hf://datasets/OWNER/NAME; s3://bucket/folder; file:///",
    )
    parser.add_argument("--public", action="store_true", help="everybody may read the new dataset of the hub")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from pipelines.cluster.session import stoppable
    from pipelines.dataset.storage import Storage
    from pipelines.export.destinations import destination
    from pipelines.flows.publish import publish

    target = destination(options.to, public=options.public)
    with stoppable():
        done = publish(Storage.open(options.export), target)
    print(f"{done.files:,} files, {done.bytes / 1e6:,.1f} MB, {done.sent:,} of them sent now: {target.uri}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
