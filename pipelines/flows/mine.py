"""Mining, top to bottom: captions -> pairs, counted where the files are read -> counts together -> rare prompts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import PurePosixPath

import pyarrow as pa

from pipelines.cluster.session import ordered_map, session, stoppable
from pipelines.config.tables import RayOptions
from pipelines.dataset import parquet
from pipelines.dataset.failures import Failure
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import without_scheme
from pipelines.errors import UserError
from pipelines.mining import choose
from pipelines.mining.choose import Choice
from pipelines.mining.counts import MOST_PAIRS, Counted, Counts
from pipelines.mining.lexicon import Lexicon
from pipelines.mining.parser import open_parser
from pipelines.prompts import files as prompt_files
from pipelines.prompts.config import Prompts
from pipelines.prompts.other_names import other_names
from pipelines.prompts.places import Source, find
from pipelines.prompts.values import Unusable, clean_text
from pipelines.prompts.wanted import Wanted

_FILES_WORTH_RAY = 4
_CAPTIONS_AT_A_TIME = 1024
_ROWS_AT_A_TIME = 100_000
ENDINGS = (".parquet", ".jsonl")
_OPTIONS = {"path": "--captions", "format": "--format", "encoding": "--encoding", "columns.prompt": "--column"}


@dataclass(frozen=True, kw_only=True)
class Mining:
    """What every worker needs."""

    captions: Prompts
    """The files, their format, and the column of the captions."""
    lexicon: Lexicon
    """The words."""
    parser: str = "grammar"
    """See `open_parser`."""
    most_pairs: int = MOST_PAIRS
    """See `Counts`."""


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What was found."""

    captions: int
    """Captions read."""
    unreadable: int
    """Rows without one."""
    missed: int
    """See `Counted`."""
    prompts: Counter[str]
    """Rarity -> prompts written."""


def run(mining: Mining, choice: Choice, to: str, where: RayOptions) -> Mined:
    """Count the pairs of all captions, and write those that are rare as a prompt file.

    mining: the corpus, and how it is read.
    choice: which pairs become prompts.
    to: the file, .parquet or .jsonl; local or s3://.
    where: the table [ray], for corpora of many files.

    Raises:
        UserError: when the captions cannot be read, the file is there already, or nothing is found.
    """
    output, name = _target(to)
    open_parser(mining.parser, mining.lexicon)  # here first: what is missing is said before a worker starts
    with other_names(_OPTIONS):
        files = find(mining.captions)
    counts = Counts(mining.most_pairs)
    with ExitStack() as stack:
        stack.enter_context(stoppable())
        many = len(files) >= _FILES_WORTH_RAY
        if many:
            stack.enter_context(session(where))
        for counted in (ordered_map if many else map)(partial(count_file, mining), files):
            counts.merge(counted)
    written: Counter[str] = Counter()
    tables = _tables(counts, choice, written)
    if (first := next(tables, None)) is None:
        raise UserError(
            f"--captions: of {counts.captions:,} captions no pair is among {', '.join(choice.rarities)} with an object "
            f"of {choice.object_mentions:,} mentions or more; lower --object-mentions, or give a larger --lexicon"
        )
    _write(output, name, chain([first], tables))
    return Mined(captions=counts.captions, unreadable=counts.unreadable, missed=counts.missed, prompts=written)


def count_file(mining: Mining, source: Source) -> Counted:
    """The pairs of one file; memory is bounded whatever its size.

    mining: how it is read.
    source: the file.

    Raises:
        UserError: when it is not of its format, or has no such column.
    """
    parser = open_parser(mining.parser, mining.lexicon)
    counts = Counts(mining.most_pairs)
    captions = _captions(mining, source, counts)
    with other_names(_OPTIONS):
        while some := list(islice(captions, _CAPTIONS_AT_A_TIME)):
            counts.captions += len(some)
            counts.add(parser.pairs(some))
    return counts.counted()


def _captions(mining: Mining, source: Source, counts: Counts) -> Iterator[str]:
    columns = mining.captions.columns
    for _, values in prompt_files.read(source, mining.captions, Wanted(columns, settings=False)):
        try:
            value = values if isinstance(values, Failure) else values.get(columns.name_of("prompt"))
            caption, _ = clean_text(value, "caption")
        except Unusable:
            caption = None
        if caption is None:
            counts.unreadable += 1
        else:
            yield caption


def _target(to: str) -> tuple[Storage, str]:
    folder, _, name = without_scheme(to).rpartition("/")
    if not name.endswith(ENDINGS):
        raise UserError(f"--to {to}: needs a file that ends with one of {', '.join(ENDINGS)}")
    output = Storage.open(folder or ("/" if to.startswith("/") else "."))
    if output.exists(name):
        raise UserError(f"--to {to}: the file is there already. Remove it, or choose another name")
    return output, name


def _tables(counts: Counts, choice: Choice, written: Counter[str]) -> Iterator[pa.Table]:
    rows = choose.rows(counts, choice)
    while some := list(islice(rows, _ROWS_AT_A_TIME)):
        written.update(row["rarity"] for row in some)
        yield pa.Table.from_pylist(some, schema=choose.SCHEMA)


def _write(output: Storage, name: str, tables: Iterable[pa.Table]) -> None:
    with output.open_output(name) as file:
        if PurePosixPath(name).suffix == ".parquet":
            with parquet.Writer(file, choose.SCHEMA) as writer:
                for table in tables:
                    writer.write(table)
            return
        for table in tables:
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in table.to_pylist())
