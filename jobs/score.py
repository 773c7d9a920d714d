"""Score a finished dataset with other scorers, into new files with further columns.

    python jobs/score.py --dataset out/demo --scorer b32=ViT-B-32:openai
    python jobs/score.py --dataset s3://bucket/run --scorer l14=ViT-L-14:openai --set ray.gpus_per_scorer=1
    python jobs/score.py --dataset out/demo --scorer NAME --plugin MODULE --set scoring.kind=KIND
    python jobs/score.py --dataset out/demo --scorer safety=OWNER/CLASSIFIER --set scoring.kind=classifier

A kind's own settings are given as well, for a classifier --set 'scoring.options.labels=["nsfw"]'.

The files of the dataset are not changed: scores/NAME/data/shard-X.parquet has a row for each row of
data/shard-X.parquet, in its order. The same command continues an interrupted one, scores new images of the run, and
retries failed groups. Exit status: 0 done, 1 some groups could not be scored, 2 wrong input or settings, 130 or 143
stopped (run it again to continue).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pipelines import console
from pipelines.config import plugins, toml
from pipelines.config.scorers import open_clip_table
from pipelines.config.toml import override
from pipelines.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="output folder of a finished run: local or s3://bucket/folder")
    parser.add_argument(
        "--scorer",
        action="append",
        required=True,
        metavar="NAME=MODEL[:PRETRAINED]",
        help="a model of the kind in scoring.kind, by default of open_clip: its name, local-dir:FOLDER or hf-hub:ID; "
        "NAME begins its columns, and stands alone where the kind needs no model",
    )
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="a Python module that registers a scorer of your own, for scoring.kind",
    )
    parser.add_argument("--embeddings", action="store_true", help="keep the image vectors as well")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of [ray] or [scoring]"
    )
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def scorer(text: str, *, model_needed: bool = True) -> tuple[str, dict[str, Any]]:
    """The name and the table [scoring] of a value of --scorer.

    text: NAME=MODEL[:PRETRAINED].
    model_needed: whether the text must name a model.

    Raises:
        UserError: when the text has another form.
    """
    name, equals, spec = text.partition("=")
    if not equals and not model_needed:
        return name, {}
    if not equals or not spec:
        raise UserError(f"--scorer {text!r}: write NAME=MODEL[:PRETRAINED], for example b32=ViT-B-32:openai")
    return name, open_clip_table(spec)


def _run(options: argparse.Namespace) -> int:
    from pipelines.dataset.storage import Storage
    from pipelines.flows.rescore import RescoreConfig, rescore

    plugins.load(options.plugin, "--plugin")
    wanted: dict[str, RescoreConfig] = {}
    for text in options.scorer:
        name, scoring = scorer(text, model_needed=not any(word.startswith("scoring.kind=") for word in options.set))
        table: dict[str, Any] = {"scoring": scoring, "embeddings": options.embeddings, "plugins": options.plugin}
        for setting in options.set:
            override(table, setting)
        wanted[name] = toml.build(RescoreConfig, table, file="--set")
    failed = 0
    for name, one in wanted.items():
        done = rescore(Storage.open(options.dataset), name, one)
        failed += done.groups_failed
        print(f"{name}: {done.images:,} images scored in {done.shards:,} shards, {done.groups_failed:,} groups failed")
        if done.cut:
            print(f"warning: {name} did not read the texts of {done.cut:,} images to their end: {name}_clip_tokens_cut")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
