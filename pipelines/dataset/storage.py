"""Reads and writes the files of a run, on a local disk or in S3, through one small class.

S3 takes its settings from the standard environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and
AWS_REGION. A `Storage` holds only its URI, so it can be pickled to a worker, which connects from its own environment.
"""

from __future__ import annotations

import io
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, TypeVar, cast

from pipelines.dataset import s3
from pipelines.dataset.outages import (
    PATIENCE_AT_THE_START_SECONDS,
    PATIENCE_SECONDS,
    of_storage_client,
    retry_transient,
)
from pipelines.dataset.uris import S3, is_s3, without_scheme
from pipelines.errors import UserError

T = TypeVar("T")

_READ_AHEAD_BYTES = 1 << 20
_TEMPORARY = ".tmp"


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
            UserError: when the URI has another scheme, or no bucket.
        """
        text = without_scheme(os.fspath(uri))
        if is_s3(text):
            if not text[len(S3) :].strip("/"):
                raise UserError(f"{text!r} names no bucket: write s3://bucket/folder")
            return Storage(text.rstrip("/"))
        return Storage(str(Path(text).absolute()))

    def at_the_start(self) -> Self:
        """The same folder for what a job does first: it fails soon where the server does not answer."""
        return replace(self, patience_seconds=min(self.patience_seconds, PATIENCE_AT_THE_START_SECONDS))

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem; equal ones of a process share an instance."""
        if not is_s3(self.uri):
            import fsspec

            return fsspec.filesystem("file")
        return s3.filesystem(patient=self.patience_seconds > PATIENCE_AT_THE_START_SECONDS)

    def path(self, rel: str = "") -> str:
        """Full path or URI of `rel`."""
        return f"{self.uri}/{rel}" if rel else self.uri

    def read_bytes(self, rel: str) -> bytes:
        """The content of a file."""
        return cast(bytes, self._do("read", rel, lambda: self.filesystem.cat_file(self.path(rel))))

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Write a file, which appears whole or not at all, also after a crash; an existing file is replaced."""
        if is_s3(self.uri):
            self._do("write", rel, lambda: self.filesystem.pipe_file(self.path(rel), data), missing_is_user_error=True)
        else:
            with self.open_output(rel) as file:
                file.write(data)

    def create_bytes(self, rel: str, data: bytes) -> bool:
        """Write a file that does not exist yet; returns False, and writes nothing, where it exists.

        Some S3 servers ignore the condition and replace the file; read it again to make sure.
        """
        return self._do("write", rel, lambda: self._create(rel, data), missing_is_user_error=True)

    def _create(self, rel: str, data: bytes) -> bool:
        try:
            if is_s3(self.uri):
                if self.filesystem.exists(self.path(rel)):
                    return False
                self.filesystem.pipe_file(self.path(rel), data, mode="create")
            else:
                target = Path(self.path(rel))
                temporary = _temporary(target)
                temporary.write_bytes(data)
                try:
                    os.link(temporary, target)
                finally:
                    temporary.unlink()
        except FileExistsError:
            return False
        return True

    @contextmanager
    def open_output(self, rel: str) -> Iterator[IO[bytes]]:
        """A file to write to; it appears whole when the block ends, and not at all if the block raises.

        For S3 it is first an unnamed local file, as an interrupted upload stream would leave a truncated object.
        """
        with self._explained("write", rel, missing_is_user_error=True):
            if is_s3(self.uri):
                with tempfile.TemporaryFile() as file:
                    yield file
                    file.flush()
                    named = f"/dev/fd/{file.fileno()}"  # an open file has no other name once it is unlinked
                    retry_transient(lambda: self.filesystem.put_file(named, self.path(rel)), self.patience_seconds)
                return
            target = Path(self.path(rel))
            temporary = _temporary(target)
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
                _sync_folder(target.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def open_input(self, rel: str) -> BinaryIO:
        """A seekable file that pyarrow can read from; only the parts that are read are fetched."""
        if is_s3(self.uri):
            return cast(BinaryIO, io.BufferedReader(_S3Input(self, rel), _READ_AHEAD_BYTES))
        return self._do("read", rel, lambda: Path(self.path(rel)).open("rb"))

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
        return {name: size for name, size in self._entries(rel_dir, "file").items() if not name.startswith(".")}

    def folders(self, rel_dir: str = "") -> Sequence[str]:
        """Sorted names of the folders directly in a folder. Dot folders are left out."""
        return [name for name in self._entries(rel_dir, "directory") if not name.startswith(".")]

    def remove(self, rel: str) -> None:
        """Remove a file, if it exists."""

        def remove() -> None:
            if self.filesystem.exists(self.path(rel)):
                self.filesystem.rm_file(self.path(rel))

        self._do("remove", rel, remove)

    def sweep(self, rel_dir: str) -> None:
        """Remove the temporary files of interrupted writes. Only the job that writes to the folder may call it.

        In S3 an interrupted upload leaves no visible file; a lifecycle rule of the bucket removes its parts.
        """
        if not is_s3(self.uri):
            for name in self._entries(rel_dir, "file"):
                if name.startswith(".") and name.endswith(_TEMPORARY):
                    self.remove(f"{rel_dir}/{name}" if rel_dir else name)

    def _entries(self, rel_dir: str, kind: str) -> dict[str, int]:
        """Name -> bytes, sorted by name."""

        def entries() -> dict[str, int]:
            try:
                found = self.filesystem.ls(self.path(rel_dir), detail=True)
            except FileNotFoundError:
                return {}
            names = {str(e["name"]).rstrip("/").rsplit("/", 1)[-1]: e["size"] or 0 for e in found if e["type"] == kind}
            return dict(sorted(names.items()))

        return self._do("list", rel_dir, entries)

    def _do(self, action: str, rel: str, operation: Callable[[], T], *, missing_is_user_error: bool = False) -> T:
        with self._explained(action, rel, missing_is_user_error=missing_is_user_error):
            return retry_transient(operation, self.patience_seconds if is_s3(self.uri) else 0.0)

    @contextmanager
    def _explained(self, action: str, rel: str, *, missing_is_user_error: bool = False) -> Iterator[None]:
        """Turn an error of the operating system or of S3 into a UserError with the path and what to do."""
        try:
            yield
        except FileNotFoundError as error:
            if not missing_is_user_error:
                raise
            raise UserError(f"cannot {action} {self.path(rel)}: {self._remedy(error)}") from error
        except OSError as error:
            raise UserError(f"cannot {action} {self.path(rel)}: {self._remedy(error)}") from error
        except Exception as error:
            if not of_storage_client(error):
                raise
            raise UserError(f"cannot {action} {self.path(rel)}: {self._remedy(error)}") from error

    def _remedy(self, error: BaseException) -> str:
        reason = f"{type(error).__name__}: {error}"
        if not is_s3(self.uri):
            return (
                f"{reason}. Choose a folder that you may write to, on a disk with room; where a run has begun, make "
                "room and start the same command again: it goes on from the finished shards."
            )
        if isinstance(error, FileNotFoundError):
            bucket = self.uri[len(S3) :].split("/", 1)[0]
            return f"there is no bucket {bucket!r} at this endpoint. Create it, or correct the s3:// path."
        return (
            f"{reason}. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_REGION, "
            "that these credentials may read and write here, and that the server is up. Then start the same command "
            "again: a run that has begun goes on from the finished shards."
        )


class _S3Input(io.RawIOBase):
    """A file in S3; every read is a request of its own, which continues after broken connections."""

    def __init__(self, storage: Storage, rel: str) -> None:
        self._storage = storage
        self._rel = rel
        self._at = 0
        self._size = storage.size(rel)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        where = self._storage.path(self._rel)
        data = self._storage._do(
            "read", self._rel, lambda: self._storage.filesystem.cat_file(where, start=self._at, end=end)
        )
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _temporary(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}{_TEMPORARY}")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: without this a power failure can undo it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
