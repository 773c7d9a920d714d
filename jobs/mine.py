"""Find rare concepts in the captions of a corpus, as a prompt file for jobs/synth.py.

    python jobs/mine.py --captions captions.txt --to rare.jsonl
    python jobs/mine.py --captions s3://bucket/captions/*.parquet --column TEXT --to s3://bucket/rare.parquet
    python jobs/mine.py --captions captions.txt --to rare.jsonl --kind colour --kind texture --rarity unseen
    python jobs/mine.py --captions captions.txt --to rare.jsonl --parser spacy:en_core_web_sm

Counts which attributes captions give to which objects, and writes the pairs that are rare for their object: prompt,
concept, rarity, the counterfactual with the object's most frequent attribute of the same kind, and the counts. Corpora
of several files are spread over Ray. Exit status: 0 done, 2 wrong input or options, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import sys

from pipelines import console
from pipelines.config.tables import RayOptions
from pipelines.errors import UserError
from pipelines.mining.choose import RARITIES, Choice
from pipelines.mining.counts import MOST_PAIRS
from pipelines.mining.lexicon import ENGLISH, read
from pipelines.mining.spacy_parser import OTHER
from pipelines.prompts.columns import Columns
from pipelines.prompts.config import AUTO, Prompts
from pipelines.prompts.formats import FORMATS

_OPTIONS = {"path": "captions", "prompt": "column"}
"""Setting -> its option, where that has another name."""


def main(arguments: list[str] | None = None) -> int:
    default = Choice()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", required=True, nargs="+", metavar="PATH", help="files or globs, as prompts.path")
    parser.add_argument("--column", default="caption", metavar="NAME", help="column of the captions (default: caption)")
    formats = (AUTO, *FORMATS)
    parser.add_argument(
        "--format", default=AUTO, choices=formats, help="format of the files, as prompts.format (default: %(default)s)"
    )
    parser.add_argument(
        "--encoding", default=AUTO, metavar="NAME", help="of text, as prompts.encoding (default: UTF-8)"
    )
    parser.add_argument("--to", required=True, metavar="FILE", help="prompt file to write: .parquet or .jsonl")
    parser.add_argument("--parser", default="grammar", help="grammar, or spacy:PIPELINE (default: %(default)s)")
    parser.add_argument("--lexicon", default=str(ENGLISH), metavar="FILE", help="TOML file of words (default: English)")
    parser.add_argument("--kind", action="append", default=[], metavar="NAME", help="of attributes (default: all)")
    parser.add_argument("--rarity", action="append", default=[], choices=RARITIES, help="(default: rare and unseen)")
    parser.add_argument("--text", default=default.text, help="the prompt (default: %(default)s)")
    parser.add_argument("--rare-below", type=float, default=default.rare_below, metavar="SHARE")
    parser.add_argument("--common-at-least", type=float, default=default.common_at_least, metavar="SHARE")
    parser.add_argument("--object-mentions", type=int, default=default.object_mentions, metavar="N", help="at least")
    parser.add_argument(
        "--pair-mentions", type=int, default=default.pair_mentions, metavar="N", help="at least, or none"
    )
    parser.add_argument("--most-pairs", type=int, default=MOST_PAIRS, metavar="N", help="to remember, 250 bytes each")
    parser.add_argument("--ray-address", default="", metavar="ADDRESS", help="Ray cluster for corpora of many files")
    options = parser.parse_args(arguments)
    return console.guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    try:
        choice = Choice(
            rarities=tuple(options.rarity) or Choice().rarities,
            kinds=tuple(options.kind),
            text=options.text,
            common_at_least=options.common_at_least,
            rare_below=options.rare_below,
            object_mentions=options.object_mentions,
            pair_mentions=options.pair_mentions,
        )
        captions = Prompts(
            path=tuple(options.captions),
            format=options.format,
            encoding=options.encoding,
            columns=Columns(prompt=options.column),
        )
    except ValueError as error:
        name, rest = str(error).split(" ", 1)
        raise UserError(f"--{_OPTIONS.get(name, name.replace('_', '-'))} {rest}") from error
    lexicon = read(options.lexicon)
    if unknown := [kind for kind in choice.kinds if kind not in (*lexicon.attributes, OTHER)]:
        raise UserError(f"--kind {unknown[0]!r}: the lexicon has {', '.join(lexicon.attributes)}")
    from pipelines.flows import mine  # it imports Ray's helpers

    mining = mine.Mining(captions=captions, lexicon=lexicon, parser=options.parser, most_pairs=options.most_pairs)
    mined = mine.run(mining, choice, options.to, RayOptions(address=options.ray_address, check_fit=False))
    found = ", ".join(f"{count:,} {rarity}" for rarity, count in sorted(mined.prompts.items()))
    print(f"{mined.captions:,} captions ({mined.unreadable:,} unreadable): {found} prompts in {options.to}")
    if mined.missed:
        print(f"counts may be low by up to {mined.missed:,}: --most-pairs was reached")
    return 0


if __name__ == "__main__":
    sys.exit(main())
