"""Files on a local disk that appear whole or not at all, also after a crash."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp", re.DOTALL)
_NO_SYNC_OF_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}


def is_temporary(name: str) -> bool:
    """Whether a file is what an interrupted write left, by its name."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write to; it takes the place of `target` when the block ends, and is gone if the block raises."""
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


def create(target: Path, data: bytes) -> bool:
    """Write a file that does not exist yet; returns False, and writes nothing, where it exists."""
    temporary = _temporary(target)
    try:
        temporary.write_bytes(data)
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:  # file systems without hard links; whatever else is wrong, the other way meets it too
        return _create_in_place(target, data)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _create_in_place(target: Path, data: bytes) -> bool:
    """As `create`, but for a moment others see an empty file."""
    try:
        file = target.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(data)
    except BaseException:
        target.unlink()
        raise
    return True


def _temporary(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the file system can: without this a power failure can undo it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise
    finally:
        os.close(handle)
