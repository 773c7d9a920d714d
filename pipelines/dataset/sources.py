"""The pictures that prompts edit, kept with the run, each once, under a hash of its file: `sources/sources-*.parquet`.

A run needs nothing else of the user's pictures once it is planned: rows name them by their hashes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import parquet, run_json, schema
from pipelines.dataset.run_json import Segment
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

FOLDER = "sources"

MOST_PICTURES = 16
"""Most pictures that a prompt edits."""

ROW_GROUP_BYTES = 4 << 20
"""Bytes of pictures from which a row group is full: who reads one picture reads its row group."""

FILE_BYTES = 512 << 20
"""Bytes of pictures from which a file is full."""

_SCHEMA = schema.declared(
    pa.schema(
        [
            pa.field("source_id", pa.string(), nullable=False),
            pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
        ]
    )
)
_FILE = re.compile(r"sources-(\d{6,})-\d{4,}\.parquet")
_FILES_AT_A_TIME = 16
_ENDINGS = {b"\x89PNG": "png", b"\xff\xd8": "jpg", b"RIFF": "webp"}


class Picture(NamedTuple):
    """A picture to edit, as a file."""

    id: str
    """The first 32 hex digits of the file's sha256."""
    data: bytes
    """The file, as it was given."""


def picture(data: bytes) -> Picture:
    """A picture with its id.

    data: its file.
    """
    return Picture(hashlib.sha256(data).hexdigest()[:32], data)


def file_name(one: Picture) -> str:
    """A name for the file of a picture: its id, and an ending."""
    ending = next((ending for begin, ending in _ENDINGS.items() if one.data.startswith(begin)), "png")
    return f"{one.id}.{ending}"


def names(segment: Segment) -> Iterator[str]:
    """The paths of the files with the pictures that a segment has brought.

    segment: of the plan.
    """
    for number in range(segment.sources):
        yield _name(segment.first, number)


def files(output: Storage) -> list[str]:
    """The paths of the files that are there, in order."""
    return [f"{FOLDER}/{name}" for name in output.list(FOLDER) if is_file(name)]


def is_file(name: str) -> bool:
    """Whether a file in sources/ is named like one of these."""
    return _FILE.fullmatch(name) is not None


def _name(first: int, number: int) -> str:
    return f"{FOLDER}/sources-{first:06d}-{number:04d}.parquet"


class SourceWriter:
    """Writes the pictures of a segment as they come, each that is not there yet; a file appears whole or not at all.

    output: the output folder.
    first: number of the segment's first shard, which its files are named by.
    """

    def __init__(self, output: Storage, first: int) -> None:
        self._output = output
        self._first = first
        self._known = {bytes.fromhex(one) for one in Sources(output).ids()}
        self.files = 0
        """How many files there are."""
        self._waiting: list[Picture] = []
        self._waiting_bytes = self._bytes = 0
        self._file = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._file.__exit__(kind, error, tb)

    def add(self, one: Picture) -> None:
        """Keep a picture."""
        if (name := bytes.fromhex(one.id)) in self._known:
            return
        self._known.add(name)
        self._waiting.append(one)
        self._waiting_bytes += len(one.data)
        if self._waiting_bytes >= ROW_GROUP_BYTES or len(self._waiting) == parquet.ROWS_PER_ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._bytes >= FILE_BYTES:
            self._file.close()
            self._bytes = 0
        if not self._bytes:
            file = self._file.enter_context(self._output.open_output(_name(self._first, self.files)))
            self._writer = self._file.enter_context(parquet.Writer(file, _SCHEMA))
            self.files += 1
        rows = [{"source_id": one.id, "image": {"bytes": one.data, "path": file_name(one)}} for one in self._waiting]
        self._writer.write(pa.Table.from_pylist(rows, schema=_SCHEMA))
        self._bytes += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0


class Sources:
    """Reads the pictures of a run. Where each lies is looked up when the first is asked for.

    output: the output folder.
    """

    def __init__(self, output: Storage) -> None:
        self._output = output
        self._places: dict[str, tuple[str, int]] | None = None

    def ids(self) -> Collection[str]:
        """The ids of all pictures."""
        return self._all().keys()

    def read(self, ids: Collection[str]) -> dict[str, bytes]:
        """Id -> file of some pictures.

        ids: of the pictures.

        Raises:
            UserError: when one is not there.
        """
        wanted: dict[tuple[str, int], list[str]] = {}
        for one in dict.fromkeys(ids):
            if one not in self._all():
                raise UserError(
                    f"{self._output.path(FOLDER)} does not hold the picture {one}, which rows of the run name: put "
                    "back its files, from a copy of the folder"
                )
            wanted.setdefault(self._all()[one], []).append(one)
        found: dict[str, bytes] = {}
        for (path, group), here in wanted.items():
            with parquet.opened(self._output, path) as file:
                rows = file.group(group, ["source_id", "image.bytes"])
            rows = rows.filter(pc.is_in(rows["source_id"], value_set=pa.array(here)))
            found |= {str(row["source_id"]): row["image"]["bytes"] for row in rows.to_pylist()}
        return found

    def _all(self) -> dict[str, tuple[str, int]]:
        if self._places is None:
            paths = files(self._output)
            with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
                self._places = {
                    one: (path, group)
                    for path, groups in zip(paths, pool.map(self._ids, paths), strict=True)
                    for group, of_group in enumerate(groups)
                    for one in of_group
                }
        return self._places

    def _ids(self, path: str) -> list[list[str]]:
        """Those of each row group of a file."""
        with parquet.opened(self._output, path) as file:
            ids: list[Any] = file.read(["source_id"])["source_id"].to_pylist()
            sizes = file.rows_of_groups
        ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
        return [ids[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def check_there(output: Storage, segments: Sequence[Segment]) -> None:
    """Check that the pictures of a plan are there.

    output: the output folder.
    segments: of the plan, as run.json has them.

    Raises:
        UserError: when a file is not.
    """
    run_json.require_files(output, _named(segments), files(output), "it")


def trim(output: Storage, segments: Sequence[Segment]) -> None:
    """Remove the files of no segment, which an interrupted or failed planning leaves.

    output: the output folder.
    segments: of the plan.
    """
    for path in {*files(output)} - _named(segments):
        output.remove(path)


def _named(segments: Sequence[Segment]) -> set[str]:
    return {name for segment in segments for name in names(segment)}
