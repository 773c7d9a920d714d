"""What an error of storage means, and what to do: the end of the message that a person reads."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from pipelines.dataset.uris import bucket, is_s3

_ELSEWHERE = "Choose a folder that you may write to, on a disk with room"
_WITHOUT_PERMISSION = {errno.EACCES, errno.EPERM}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP}
_GO_ON = "; where a run has begun, put this right and start the same command again: it goes on from what is finished."

_QUERY = re.compile(r"(?<=\w)\?[^\s'\"]*")


def unsigned(text: str) -> str:
    """A message without the queries of its addresses, which may hold signatures that let their reader in."""
    return _QUERY.sub("", text)


def remedy(error: BaseException, uri: str, *, writing: bool) -> str:
    """The reason of an error, and what to do.

    error: of the operating system, or of the S3 client.
    uri: of the file.
    writing: whether it was to be written, or removed.
    """
    if is_s3(uri):
        return _in_s3(error, uri)
    reason = local_reason(error, Path(uri))
    return f"{reason}. {_ELSEWHERE}{_GO_ON}" if writing else f"{reason}."


def local_reason(error: BaseException, path: Path) -> str:
    """The reason of an error of the operating system.

    error: the error.
    path: of the file.
    """
    code = error.errno if isinstance(error, OSError) else None
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    there = _nearest(path)
    if code == errno.ENOSPC:
        return f"{said}: {_room(there)}"
    if code in _WITHOUT_PERMISSION:
        return f"{said}: it is not allowed in {there}, as user {os.geteuid()}"
    if code in _IN_THE_WAY and there.is_symlink() and not there.exists():
        return f"{said}: {there} is a link to {there.readlink()}, which is not there"
    if code in _IN_THE_WAY and there != path and not there.is_dir():
        return f"{said}: {there} is not a folder"
    return f"{type(error).__name__}: {said}"


def _nearest(path: Path) -> Path:
    """The path, or the innermost of its folders that is there, be it a broken link."""
    for place in (path, *path.parents):
        try:
            place.lstat()
        except OSError:
            continue
        return place
    return path


def _room(place: Path) -> str:
    usage, files = shutil.disk_usage(place), os.statvfs(place)
    if usage.free and files.f_files and not files.f_favail:
        return f"the disk of {place} takes no further files, though {usage.free / 1e6:,.1f} MB are free"
    return f"on the disk of {place} {usage.free / 1e6:,.1f} of {usage.total / 1e6:,.1f} MB are free"


def _in_s3(error: BaseException, uri: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no bucket {bucket(uri)!r} at this endpoint. Create it, or correct the s3:// path."
    said = " ".join(str(error).split()).rstrip(".")
    return (
        f"{type(error).__name__}: {said}. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and "
        "AWS_REGION, that these credentials may read and write here, and that the server is up. Then start the same "
        "command again: a run that has begun goes on from the finished shards."
    )
