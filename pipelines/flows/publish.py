"""Publishing, top to bottom: finished export -> claim the destination -> send what is missing -> look again.

Nothing is remembered between two starts: what is there decides what is left to send.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.cluster import bars
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.destinations.base import Destination
from pipelines.export.finished import open_export

_BATCH_BYTES = 2_000_000_000
"""Most bytes that are sent together: what a kill may cost, at most, where the destination does not know parts of it."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was done."""

    files: int
    """Files of the export, all of which are there."""
    bytes: int
    """Their size."""
    sent: int
    """How many of them were sent now."""


def publish(source: Storage, destination: Destination) -> Published:
    """Send what is not there yet, and check that all is there as it is in the export.

    source: the folder of an export.
    destination: where it goes.

    Raises:
        UserError: when the export is not whole or damaged, the destination holds anything else, or cannot be written.
    """
    export = open_export(source)
    destination.claim(export.files, source)
    to_send = destination.missing(export.files, source)
    total = sum(entry.bytes for entry in export.files)
    with bars.bar(total, total - sum(entry.bytes for entry in to_send), "publish", " bytes") as bar:
        for batch in _batches(to_send, destination.batch_files):
            destination.send(batch, source)
            bar.update(sum(entry.bytes for entry in batch))
    if wrong := destination.missing(export.files, source):
        raise UserError(
            f"{destination.uri}: {wrong[0].path} is not there as it was sent, nor are {len(wrong) - 1} others. Does "
            "somebody else write there? Start the same command again"
        )
    return Published(files=len(export.files), bytes=total, sent=len(to_send))


def _batches(files: Sequence[FileEntry], most: int) -> Iterator[Sequence[FileEntry]]:
    """Files in their order, in batches of at most so many files, and of `_BATCH_BYTES` unless a file is larger."""
    batch: list[FileEntry] = []
    for entry in files:
        if batch and (len(batch) == most or sum(one.bytes for one in batch) + entry.bytes > _BATCH_BYTES):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch
