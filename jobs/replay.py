"""Make images of a dataset again from their rows, and compare the pixels.

    python jobs/replay.py --dataset out/demo                 # a sample of groups
    python jobs/replay.py --dataset out/demo --sample 0      # all of them
    python jobs/replay.py --dataset s3://bucket/run --group 1f0a5c9e2b7d4f63

With the library versions that made the dataset, the pixels must be identical. With others, or where --min-psnr says so
(another kind of GPU, a copy of data/ without its plan), so many dB are enough. Exit status: 0 all rows agree, 1 some do
not, 2 wrong input.
"""

from __future__ import annotations

import argparse
import math
import sys

from pipelines import console

_PSNR_OF_OTHER_VERSIONS_DB = 30.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="output folder of a run: a local path or s3://bucket/folder")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sample", type=int, default=8, metavar="N", help="so many groups; 0 for all (default: 8)")
    which.add_argument("--group", default="", metavar="ID", help="this group_id only")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--model", default="", help="folder or hub id of the model, where it is not that of the rows")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--min-psnr", type=float, default=None, metavar="DB", help="accept images this near")
    options = parser.parse_args(arguments)
    if options.sample < 0:
        parser.error(f"--sample {options.sample}: needs 0 (all) or more groups")
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    import torch

    from models.generator import Generator
    from models.spec import ModelSpec
    from pipelines import replay
    from pipelines.storage import Storage

    output = Storage.open(options.dataset)
    same_versions, threads = replay.made_with(output)
    torch.set_num_threads(threads)
    least = options.min_psnr
    if least is None:
        least = math.inf if same_versions else _PSNR_OF_OTHER_VERSIONS_DB
    generator: Generator | None = None
    made = wrong = 0
    for rows in replay.pick(output, sample=options.sample, group_id=options.group, seed=options.seed):
        row = rows.select(["model", "model_revision", "dtype"]).slice(0, 1).to_pylist()[0]
        if generator is None:  # all rows of a run have one model
            path, revision = (options.model, "") if options.model else (row["model"], row["model_revision"])
            spec = ModelSpec(path=path, revision=revision, dtype=row["dtype"], device=options.device)
            generator = Generator(spec)
        for image in replay.replay(output, rows, generator.generate):
            made += 1
            if image.psnr_db < least:
                wrong += 1
                print(
                    f"group {image.group_id} image {image.index} ({image.prompt[:60]!r}) differs by up to "
                    f"{image.max_difference} levels, {image.psnr_db:.1f} dB",
                    file=sys.stderr,
                )
    accepted = "identical" if math.isinf(least) else f"within {least:g} dB"
    print(f"{made} images made again, {made - wrong} {accepted}, {wrong} not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
