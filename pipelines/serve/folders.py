"""Where the endpoint keeps files that are fetched later: in memory, or in a folder that outlives the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pipelines.dataset.storage import Storage


class Folder(Protocol):
    """What is needed of `pipelines.dataset.storage.Storage`, whose methods these are."""

    def read_bytes(self, rel: str) -> bytes: ...

    def write_bytes(self, rel: str, data: bytes) -> None: ...

    def remove(self, rel: str) -> None: ...

    def sizes(self, rel_dir: str = "") -> Mapping[str, int]: ...


class Memory:
    """A folder in the memory of this process."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def read_bytes(self, rel: str) -> bytes:
        """As of `Storage`."""
        try:
            return self._files[rel]
        except KeyError:
            raise FileNotFoundError(rel) from None

    def write_bytes(self, rel: str, data: bytes) -> None:
        """As of `Storage`."""
        self._files[rel] = data

    def remove(self, rel: str) -> None:
        """As of `Storage`."""
        self._files.pop(rel, None)

    def sizes(self, rel_dir: str = "") -> Mapping[str, int]:
        """As of `Storage`."""
        at = f"{rel_dir}/" if rel_dir else ""
        return {rel.removeprefix(at): len(data) for rel, data in [*self._files.items()] if rel.startswith(at)}


def open_folder(state_dir: str) -> Folder:
    """The folder of a setting.

    state_dir: as of `Storage.open`; "" is memory.

    Raises:
        UserError: when it cannot be a folder.
    """
    return Storage.open(state_dir) if state_dir else Memory()
