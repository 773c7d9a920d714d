"""Make images of a dataset again from their rows, and compare the pixels.

    python jobs/replay.py --dataset out/demo                 # a sample of groups
    python jobs/replay.py --dataset out/demo --sample 0      # all of them
    python jobs/replay.py --dataset s3://bucket/run --group 1f0a5c9e2b7d4f63

With the library versions that made the dataset, the pixels must be identical. With others, or with fewer GPUs than a
replica of the run had, 30 dB are enough. --min-psnr overrides this, for another kind of GPU or without plan/.
Exit status: 0 all rows agree, 1 some do not, 2 wrong input.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines import console

if TYPE_CHECKING:
    from models.generator import Generator
    from models.replica.replica import Replica

_PSNR_OTHER_VERSIONS_DB = 30.0


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

    from models.replica.replica import open_generator
    from pipelines.dataset.storage import Storage
    from pipelines.flows import replay

    output = Storage.open(options.dataset)
    made_by = replay.origin(output)
    on_gpus = options.device != "cpu" and torch.cuda.is_available()
    too_few = on_gpus and torch.cuda.device_count() < made_by.ray.gpus_per_replica
    ray = replace(made_by.ray, gpus_per_replica=1) if too_few else made_by.ray
    least = options.min_psnr
    if least is None:
        least = math.inf if made_by.same_versions and not too_few else _PSNR_OTHER_VERSIONS_DB
    generator: Generator | Replica | None = None
    made = wrong = 0
    for rows in replay.pick(output, sample=options.sample, group_id=options.group, seed=options.seed):
        if generator is None:  # all rows of a run have the same model
            offload = made_by.offload if on_gpus else "none"
            spec = replay.model_of(rows, device=options.device, made_by=made_by, offload=offload, path=options.model)
            ranks = ray.ranks(made_by.group, made_by.guided, made_by.plugins)
            generator = open_generator(spec, ranks)
        for image in replay.replay(output, rows, generator.generate, per_batch=made_by.group.groups_per_batch):
            made += 1
            if not (image.identical if math.isinf(least) else image.psnr_db >= least):
                wrong += 1
                print(
                    f"group {image.group_id} image {image.index} ({image.prompt[:60]!r}) differs, in its file "
                    f"by up to {image.max_difference} levels, {image.psnr_db:.1f} dB",
                    file=sys.stderr,
                )
    accepted = "identical" if math.isinf(least) else f"within {least:g} dB"
    print(f"{made} images made again, {made - wrong} {accepted}, {wrong} not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
