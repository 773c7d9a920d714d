"""A bucket, or a folder on a disk: files are copied one by one, and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipelines.dataset import owned
from pipelines.dataset.names import EXPORT_RECORD, FileEntry
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import check_readable
from pipelines.errors import UserError
from pipelines.export import manifest
from pipelines.export.destinations.base import check_digest
from pipelines.export.finished import sizes_of

_BLOCK_BYTES = 1 << 20


class Folder:
    """A `Destination`. Every file is read back once it is written, and the manifest comes last: where that is there, an
    earlier start has read back all, and sizes are compared alone.

    target: the folder.
    """

    batch_files = 1

    def __init__(self, target: Storage) -> None:
        self.uri = target.uri
        self._target = target
        self._good: set[str] = set()

    def claim(self, files: Sequence[FileEntry], source: Storage) -> None:
        check_readable(self.uri, "--to")
        if f"{self.uri}/".startswith(f"{source.uri}/"):
            raise UserError(f"--to {self.uri} lies in the export that is to be published; choose a folder elsewhere")
        owned.check(self._target, EXPORT_RECORD, setting="--to")
        self._target.sweep("")
        if self._same(EXPORT_RECORD, source) is False:
            raise UserError(
                f"{self._target.path(EXPORT_RECORD)} is of another export than {source.uri}. Choose another --to, or "
                f"empty {self.uri}"
            )
        if self._same(manifest.FILE, source):
            self._good = {entry.path for entry in files}

    def missing(self, files: Sequence[FileEntry], source: Storage) -> Sequence[FileEntry]:
        sizes = sizes_of(self._target, (entry.path for entry in files))
        return [entry for entry in files if sizes.get(entry.path) != entry.bytes or not self._is_good(entry)]

    def send(self, files: Sequence[FileEntry], source: Storage) -> None:
        for entry in files:
            digest = hashlib.sha256()
            with source.open_input(entry.path) as there, self._target.open_output(entry.path) as here:
                while block := there.read(_BLOCK_BYTES):
                    digest.update(block)
                    here.write(block)
                check_digest(source, entry, digest.hexdigest())
            if not self._is_good(entry):
                raise UserError(f"{self._target.path(entry.path)} is not what was written there: start again")

    def _is_good(self, entry: FileEntry) -> bool:
        if entry.path not in self._good and self._sha256(entry.path) == entry.sha256:
            self._good.add(entry.path)
        return entry.path in self._good

    def _sha256(self, path: str) -> str:
        with self._target.open_input(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def _same(self, path: str, source: Storage) -> bool | None:
        """Whether a small file is the one of the export; None where it is not there."""
        try:
            return self._target.read_bytes(path) == source.read_bytes(path)
        except FileNotFoundError:
            return None
