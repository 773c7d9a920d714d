"""Reads and writes the files of a run, on a local disk or in S3, through one small class.

S3 takes its settings from the standard environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and
AWS_REGION. A `Storage` holds only its URI, so it can be pickled to a worker, which connects from its own environment.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar, cast

from pipelines.dataset import local_files, s3
from pipelines.dataset.outages import (
    PATIENCE_AT_THE_START_SECONDS,
    PATIENCE_SECONDS,
    of_storage_client,
    retry_transient,
)
from pipelines.dataset.remedies import local_reason, remedy
from pipelines.dataset.uris import S3, bucket, is_s3, without_scheme
from pipelines.errors import UserError

T = TypeVar("T")

_READ_AHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Storage:
    """A folder. Every `rel` is a path below it with forward slashes, for example "data/shard-000000.parquet".

    Methods raise FileNotFoundError when the file to read does not exist, and UserError for all other errors of storage
    (wrong credentials, missing bucket, no permission, full disk, no connection).
    """

    uri: str
    """An absolute local path, or s3://bucket/folder."""
    patience_seconds: float = PATIENCE_SECONDS
    """How long transient errors of S3 (5xx, throttling, timeouts, broken connections) are retried."""

    @staticmethod
    def open(uri: str | os.PathLike[str]) -> Storage:
        """The folder at a URI, which need not exist; nothing is read or written.

        uri: s3://bucket/folder, file:///folder, or a local path, which becomes absolute.

        Raises:
            UserError: when the URI has another scheme, or no bucket, or cannot be a path.
        """
        text = without_scheme(os.fspath(uri))
        if not text.strip():
            raise UserError(f"{text!r} is no path of a folder: write a local path, or s3://bucket/folder")
        if is_s3(text):
            if not bucket(text):
                raise UserError(f"{text!r} names no bucket: write s3://bucket/folder")
            return Storage(text.rstrip("/"))
        return Storage(str(Path(text).absolute()))

    @property
    def at_the_start(self) -> Storage:
        """The same folder for a job's first requests, which should fail fast where the server is not there at all."""
        return replace(self, patience_seconds=min(self.patience_seconds, PATIENCE_AT_THE_START_SECONDS))

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem; equal ones of a process share an instance."""
        if is_s3(self.uri):
            return s3.filesystem(patient=self.patience_seconds > PATIENCE_AT_THE_START_SECONDS)
        import fsspec

        return fsspec.filesystem("file")

    def path(self, rel: str = "") -> str:
        """Full path or URI of `rel`."""
        return f"{self.uri}/{rel}" if rel else self.uri

    def read_bytes(self, rel: str) -> bytes:
        """The content of a file."""
        return cast(bytes, self._do("read", rel, lambda: self.filesystem.cat_file(self.path(rel))))

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Write a file, which appears whole or not at all, also after a crash; an existing file is replaced."""
        if is_s3(self.uri):
            self._do("write", rel, lambda: self.filesystem.pipe_file(self.path(rel), data), writing=True)
        else:
            with self.open_output(rel) as file:
                file.write(data)

    def create_bytes(self, rel: str, data: bytes) -> bool:
        """Write a file that does not exist yet; returns False, and writes nothing, where it exists.

        Some S3 servers ignore the condition and replace the file; read it again to make sure.
        """
        if not is_s3(self.uri):
            return self._do("write", rel, lambda: local_files.create(Path(self.path(rel)), data), writing=True)

        def create() -> bool:
            if self.filesystem.exists(self.path(rel)):
                return False
            try:
                self.filesystem.pipe_file(self.path(rel), data, mode="create")
            except FileExistsError:
                return False
            return True

        return self._do("write", rel, create, writing=True)

    @contextmanager
    def open_output(self, rel: str) -> Iterator[IO[bytes]]:
        """A file to write to; it appears whole when the block ends, and not at all if the block raises.

        For S3 it is first an unnamed local file, as an interrupted upload stream would leave a truncated object.
        """
        if not is_s3(self.uri):
            with self._explained("write", rel, writing=True), local_files.replacing(Path(self.path(rel))) as file:
                yield file
            return
        with self._buffer(rel) as file:
            yield file
            file.flush()
            named = f"/dev/fd/{file.fileno()}"  # an open file has no other name once it is unlinked
            self._do("write", rel, lambda: self.filesystem.put_file(named, self.path(rel)), writing=True)

    @contextmanager
    def _buffer(self, rel: str) -> Iterator[IO[bytes]]:
        try:
            with tempfile.TemporaryFile() as file:
                yield file
        except OSError as error:
            reason = local_reason(error, Path(tempfile.tempdir or "/tmp"))
            raise UserError(
                f"cannot prepare {self.path(rel)} in a temporary file of this machine: {reason}. Make room there, or "
                "set TMPDIR to another folder, and start the same command again: it goes on from what is finished."
            ) from error

    def open_input(self, rel: str) -> BinaryIO:
        """A seekable file that pyarrow can read from; only the parts that are read are fetched."""
        if not is_s3(self.uri):
            return self._do("read", rel, lambda: Path(self.path(rel)).open("rb"))

        def fetch(start: int, end: int) -> bytes:
            part = self._do("read", rel, lambda: self.filesystem.cat_file(self.path(rel), start=start, end=end))
            return cast(bytes, part)

        return cast(BinaryIO, io.BufferedReader(s3.Input(self.size(rel), fetch), _READ_AHEAD_BYTES))

    def exists(self, rel: str) -> bool:
        """Whether there is a file or a folder at `rel`."""
        return self._do("look for", rel, lambda: bool(self.filesystem.exists(self.path(rel))))

    def is_folder(self, rel: str) -> bool:
        """Whether there is a folder at `rel`."""
        return self._do("look for", rel, lambda: bool(self.filesystem.isdir(self.path(rel))))

    def glob(self, pattern: str) -> Sequence[str]:
        """The URIs of the files in S3 that a pattern matches.

        pattern: path below the folder, whose own path may have wildcards as well.
        """
        return self._do("list", pattern, lambda: [f"{S3}{path}" for path in self.filesystem.glob(self.path(pattern))])

    def size(self, rel: str) -> int:
        """Size of a file in bytes."""
        return self._do("read the size of", rel, lambda: int(self.filesystem.size(self.path(rel))))

    def list(self, rel_dir: str = "") -> list[str]:
        """Sorted names of the files directly in a folder; [] where there is no such folder. Dot files are left out."""
        return [*self.sizes(rel_dir)]

    def sizes(self, rel_dir: str = "") -> dict[str, int]:
        """The files that `list` names, each with its size in bytes; one request for the whole folder."""
        return {
            name: size
            for name, (kind, size) in self._entries(rel_dir).items()
            if kind == "file" and not name.startswith(".")
        }

    def folders(self, rel_dir: str = "") -> Sequence[str]:
        """Sorted names of the folders directly in a folder. Dot folders are left out."""
        entries = self._entries(rel_dir).items()
        return [name for name, (kind, _) in entries if kind == "directory" and not name.startswith(".")]

    def everything(self, rel_dir: str = "") -> Sequence[str]:
        """Sorted names of all that is directly in a folder, dot files and broken links too, but not what an interrupted
        write of this class has left."""
        return [name for name in self._entries(rel_dir) if not local_files.is_temporary(name)]

    def files_below(self, rel_dir: str = "") -> Sequence[str]:
        """Sorted paths of the files at any depth below a folder, relative to it; [] where there is no such folder."""
        root = f"{self.path(rel_dir).removeprefix(S3).rstrip('/')}/"

        def find() -> Sequence[str]:
            return [str(path).removeprefix(root) for path in self.filesystem.find(self.path(rel_dir))]

        return sorted(self._do("list", rel_dir, find))

    def remove(self, rel: str) -> None:
        """Remove a file, if it exists."""

        def remove() -> None:
            if not is_s3(self.uri):
                Path(self.path(rel)).unlink(missing_ok=True)
            elif self.filesystem.exists(self.path(rel)):
                self.filesystem.rm_file(self.path(rel))

        self._do("remove", rel, remove, writing=True)

    def sweep(self, rel_dir: str) -> None:
        """Remove the temporary files of interrupted writes. Only the job that writes to the folder may call it.

        In S3 an interrupted upload leaves no visible file; a lifecycle rule of the bucket removes its parts.
        """
        if not is_s3(self.uri):
            for name in filter(local_files.is_temporary, self._entries(rel_dir)):
                self.remove(f"{rel_dir}/{name}" if rel_dir else name)

    def _entries(self, rel_dir: str) -> dict[str, tuple[str, int]]:
        """Name -> kind and bytes, sorted by name."""

        def entries() -> dict[str, tuple[str, int]]:
            try:
                found = self.filesystem.ls(self.path(rel_dir), detail=True)
            except FileNotFoundError:
                return {}
            here = self.path(rel_dir).removeprefix(S3)
            # A file of the folder's own name is listed as if it were in it, and in S3 the mark of an empty folder too.
            inside = [one for one in found if str(one["name"]).rstrip("/") != here]
            return {str(one["name"]).rstrip("/").rsplit("/", 1)[-1]: (one["type"], one["size"] or 0) for one in inside}

        return dict(sorted(self._do("list", rel_dir, entries).items()))

    def _do(self, action: str, rel: str, operation: Callable[[], T], *, writing: bool = False) -> T:
        with self._explained(action, rel, writing=writing):
            return retry_transient(operation, self.patience_seconds if is_s3(self.uri) else 0.0)

    @contextmanager
    def _explained(self, action: str, rel: str, *, writing: bool = False) -> Iterator[None]:
        """Turn an error of the operating system or of S3 into a UserError with the path and what to do. A file that is
        to be read, and is not there, stays a FileNotFoundError."""
        try:
            yield
        except Exception as error:
            missing = isinstance(error, FileNotFoundError) and not writing
            if missing or (not isinstance(error, OSError) and not of_storage_client(error)):
                raise
            where = self.path(rel)
            raise UserError(f"cannot {action} {where}: {remedy(error, where, writing=writing)}") from error
