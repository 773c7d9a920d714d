"""The interface of a place to which exports are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export import manifest


class Destination(Protocol):
    """Where the files of an export go. All methods raise UserError for what a user can put right."""

    uri: str
    """As people write it."""
    batch_files: int
    """Most files that are sent together."""

    def claim(self, files: Sequence[FileEntry], source: Storage) -> None:
        """Check that nothing but this export is there, and that one may write.

        files: of the export.
        source: where they lie.
        """

    def missing(self, files: Sequence[FileEntry], source: Storage) -> Sequence[FileEntry]:
        """Those files that are not there as they are in the export.

        files: of the export.
        source: where they lie.
        """

    def send(self, files: Sequence[FileEntry], source: Storage) -> None:
        """Send some files.

        files: at most `batch_files`.
        source: where they lie.
        """


def check_digest(source: Storage, entry: FileEntry, sha256: str) -> None:
    """Check that a file that is being sent has the content that it had when the export was made.

    source: where it lies.
    entry: of the manifest.
    sha256: of its content now, in hex digits.

    Raises:
        UserError: when it has another one.
    """
    if sha256 != entry.sha256:
        raise UserError(
            f"{source.path(entry.path)} is damaged: it has another sha256 than in {manifest.FILE}. Remove it, start "
            "the export's own command again (python jobs/export.py ...), which makes it anew, and then this one"
        )
