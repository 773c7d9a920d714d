"""Files of a run, on a local disk or in S3, behind one small class.

S3 takes its settings from the standard environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and
AWS_REGION. A `Storage` holds only its URI, so it can be pickled to a worker, which connects from its own environment.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pipelines.errors import UserError

_S3 = "s3://"
_READ_AHEAD_BYTES = 1 << 20


def is_s3(uri: str) -> bool:
    return uri.startswith(_S3)


@dataclass(frozen=True)
class Storage:
    """A folder. Every `rel` is a path below it with forward slashes, for example "data/shard-000000.parquet".

    Methods raise FileNotFoundError where a file that is to be read does not exist, and UserError for everything else
    that storage refuses (wrong credentials, missing bucket, no permission, full disk, no connection).
    """

    uri: str

    @staticmethod
    def open(uri: str | os.PathLike[str]) -> Storage:
        """The folder at `uri`: s3://bucket/prefix, or a local path, which becomes absolute. Touches nothing yet."""
        text = os.fspath(uri)
        if is_s3(text):
            if not text[len(_S3) :].strip("/"):
                raise UserError(f"{text!r} names no bucket: write s3://bucket/folder")
            return Storage(text.rstrip("/"))
        if "://" in text:
            raise UserError(f"{text!r}: only local paths and s3:// are supported")
        return Storage(str(Path(text).absolute()))

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem (one shared instance per process)."""
        if not is_s3(self.uri):
            import fsspec

            return fsspec.filesystem("file")
        import s3fs

        return s3fs.S3FileSystem(
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None,
            client_kwargs={"region_name": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")},
            config_kwargs={
                "retries": {"max_attempts": 10, "mode": "adaptive"},
                # Some S3 servers send the checksum of the whole object with a part of it, which would not match.
                "response_checksum_validation": "when_required",
                "request_checksum_calculation": "when_required",
            },
            use_listings_cache=False,
        )

    def path(self, rel: str = "") -> str:
        """Full URI of `rel`, as a person or another reader would write it."""
        return f"{self.uri}/{rel}" if rel else self.uri

    def read_bytes(self, rel: str) -> bytes:
        with self._explained("read", rel):
            return cast(bytes, self.filesystem.cat_file(self.path(rel)))

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Write a file that appears whole or not at all, also after a crash; an existing file is replaced."""
        with self._explained("write", rel, missing_is_user_error=True):
            if is_s3(self.uri):
                self.filesystem.pipe_file(self.path(rel), data)
            else:
                with self.open_output(rel) as file:
                    file.write(data)

    @contextmanager
    def open_output(self, rel: str) -> Iterator[IO[bytes]]:
        """A file to stream into; it appears whole when the block ends, and not at all if the block raises.

        For S3 it is first a local temporary file, since an interrupted upload stream would be completed half full.
        """
        with self._explained("write", rel, missing_is_user_error=True):
            target = Path(self.path(rel))
            if is_s3(self.uri):
                folder = Path(tempfile.gettempdir())
            else:
                folder = target.parent
                folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{target.name}.{uuid.uuid4().hex}.tmp"
            opened = temporary.open("xb")
        try:
            with opened as file:
                yield file
                with self._explained("write", rel, missing_is_user_error=True):
                    file.flush()
                    os.fsync(file.fileno())
            with self._explained("write", rel, missing_is_user_error=True):
                if is_s3(self.uri):
                    self.filesystem.put_file(str(temporary), self.path(rel))
                else:
                    temporary.replace(target)
                    _sync_folder(folder)
        finally:
            temporary.unlink(missing_ok=True)

    def open_input(self, rel: str) -> BinaryIO:
        """A seekable file that pyarrow can read from; it fetches only the parts that are asked for."""
        with self._explained("read", rel):
            if is_s3(self.uri):
                file = self.filesystem.open(self.path(rel), "rb", block_size=_READ_AHEAD_BYTES, cache_type="readahead")
                return cast(BinaryIO, file)
            return Path(self.path(rel)).open("rb")

    def exists(self, rel: str) -> bool:
        with self._explained("look for", rel):
            return bool(self.filesystem.exists(self.path(rel)))

    def size(self, rel: str) -> int:
        """Bytes of a file."""
        with self._explained("read the size of", rel):
            return int(self.filesystem.size(self.path(rel)))

    def list(self, rel_dir: str = "") -> list[str]:
        """Sorted names of the files directly in a folder; [] where there is no such folder. Dot files are left out."""
        with self._explained("list", rel_dir):
            try:
                entries = self.filesystem.ls(self.path(rel_dir), detail=True)
            except FileNotFoundError:
                return []
            names = (str(e["name"]).rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "file")
            return sorted(name for name in names if not name.startswith("."))

    def remove(self, rel: str) -> None:
        """Remove a file; one that is not there is fine."""
        with self._explained("remove", rel):
            if self.filesystem.exists(self.path(rel)):
                self.filesystem.rm_file(self.path(rel))

    @contextmanager
    def _explained(self, action: str, rel: str, *, missing_is_user_error: bool = False) -> Iterator[None]:
        """Turn what the operating system or S3 says into a sentence that names the place and the remedy."""
        try:
            yield
        except FileNotFoundError as error:
            if not missing_is_user_error:
                raise
            raise UserError(f"cannot {action} {self.path(rel)}: {self._remedy(error)}") from error
        except OSError as error:
            raise UserError(f"cannot {action} {self.path(rel)}: {self._remedy(error)}") from error
        except Exception as error:
            if not _is_botocore(error):
                raise
            raise UserError(f"cannot {action} {self.path(rel)}: {self._remedy(error)}") from error

    def _remedy(self, error: BaseException) -> str:
        reason = f"{type(error).__name__}: {error}"
        if not is_s3(self.uri):
            return f"{reason}. Choose a folder that you may write to, on a disk with room."
        if isinstance(error, FileNotFoundError):
            bucket = self.uri[len(_S3) :].split("/", 1)[0]
            return f"there is no bucket {bucket!r} at this endpoint. Create it, or correct the s3:// path."
        return (
            f"{reason}. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_REGION, "
            "and that these credentials may read and write here."
        )


def _is_botocore(error: BaseException) -> bool:
    return any(cls.__module__.startswith(("botocore", "aiobotocore")) for cls in type(error).__mro__)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: without this a power cut can bring back the old name."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
