"""Datasets of the Hugging Face hub as places of prompt files: hf://datasets/OWNER/NAME/FILE."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from pipelines.dataset.s3 import Input
from pipelines.errors import UserError

_SCHEME = "hf://"
_DATASET = re.compile(r"hf://datasets/[^/]+/[^/]+(/.*)?", re.DOTALL)
_READ_AHEAD_BYTES = 1 << 22


def is_hub(uri: str) -> bool:
    """Whether a URI is of the hub."""
    return uri[: len(_SCHEME)].lower() == _SCHEME


def normalised(uri: str) -> str:
    """A URI of a dataset's file with its scheme in small letters.

    Raises:
        UserError: when it names no dataset.
    """
    uri = _SCHEME + uri[len(_SCHEME) :]
    if not _DATASET.fullmatch(uri):
        raise UserError(
            f"{uri!r} names no dataset of the hub: write hf://datasets/OWNER/NAME/FILE, or hf://datasets/OWNER/NAME@REVISION"
        )
    return uri


@dataclass(frozen=True)
class HubFolder:
    """A folder on the hub, as far as prompts need of it what `pipelines.dataset.storage.Storage` has, with the same
    errors. Its server is that of HF_ENDPOINT, and its token that of HF_TOKEN or of `hf auth login`."""

    uri: str
    """hf://datasets/OWNER, or more."""

    def path(self, rel: str = "") -> str:
        """Full URI of `rel`."""
        return f"{self.uri}/{rel}" if rel else self.uri

    def exists(self, rel: str) -> bool:
        """Whether there is a file or a folder at `rel`."""
        return self._kind(rel) is not None

    def is_folder(self, rel: str) -> bool:
        """Whether there is a folder at `rel`."""
        return self._kind(rel) == "directory"

    def glob(self, pattern: str) -> Sequence[str]:
        """The URIs of the files that a pattern matches."""
        with self._explained("list", pattern):
            found = self._filesystem.glob(self.path(pattern), detail=True)
            return [f"{_SCHEME}{path}" for path, of in found.items() if of["type"] == "file"]

    def files_below(self, rel_dir: str) -> Sequence[str]:
        """Sorted paths of the files at any depth below a folder, relative to it."""
        root = f"{self.path(rel_dir).removeprefix(_SCHEME)}/"
        with self._explained("list", rel_dir):
            return sorted(str(path).removeprefix(root) for path in self._filesystem.find(self.path(rel_dir)))

    def open_input(self, rel: str) -> BinaryIO:
        """A seekable file; only the parts that are read are fetched."""
        with self._explained("read", rel):
            file = self._filesystem.open(self.path(rel), "rb", cache_type="none")

        def fetch(start: int, end: int) -> bytes:
            with self._explained("read", rel):
                file.seek(start)
                return cast(bytes, file.read(end - start))

        return cast(BinaryIO, io.BufferedReader(Input(file.size, fetch), _READ_AHEAD_BYTES))

    @property
    def _filesystem(self) -> Any:
        """Equal ones of a process share an instance, which remembers what it has listed."""
        from huggingface_hub import HfFileSystem

        return HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT") or None)

    def _kind(self, rel: str) -> str | None:
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with self._explained("look for", rel):
            try:
                return str(self._filesystem.info(self.path(rel))["type"])
            except FileNotFoundError as error:
                if isinstance(error.__cause__, RepositoryNotFoundError | RevisionNotFoundError):
                    raise error.__cause__ from None
                return None

    @contextmanager
    def _explained(self, action: str, rel: str) -> Iterator[None]:
        """Turn what the hub's client raises into a UserError of one line, without the token."""
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) or not _of_client(error):
                raise
            raise UserError(f"cannot {action} {self.path(rel)}: {_reason(error)}") from None


def _of_client(error: Exception) -> bool:
    modules = ("huggingface_hub", "httpx", "requests")
    return isinstance(error, OSError) or any(kind.__module__.startswith(modules) for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return (
            "its owner asks for agreement: accept the terms on its page, and set HF_TOKEN to a token that may read it"
        )
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such dataset, or it is private: set HF_TOKEN to a token that may read it"
    if isinstance(error, RevisionNotFoundError):
        return "the dataset has no such revision"
    said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    token = get_token()
    return f"{said.replace(token, '...') if token else said}. Check HF_TOKEN, HF_ENDPOINT and the connection"
