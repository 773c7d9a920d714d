"""Whether a job may write to a folder: it is empty, or the record in it says that a job of the same kind began there.

Nothing else of a folder is ever overwritten or removed: a job that finds no record of its own leaves all as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.dataset import lock, records
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

_NAMES_SHOWN = 5


def check(folder: Storage, record: str, *, setting: str) -> None:
    """Check that a folder is empty, or holds a record. It is for a job's start, before it takes the folder's lock.

    folder: where a job is to write.
    record: name of the file that the job writes first, and that whoever reads it checks.
    setting: what chooses the folder, for the message.

    Raises:
        UserError: when the folder holds anything else.
    """
    folder = folder.at_the_start
    names = folder.everything()
    if record in names:
        return
    others = [name for name in names if not (name == lock.FILE and "owner" in (lock.read(folder) or {}))]
    if others:
        shown = ", ".join(others[:_NAMES_SHOWN]) + (" ..." if len(others) > _NAMES_SHOWN else "")
        raise UserError(
            f"{folder.uri} is not empty ({shown}), and has no {record}, so that it is not of this job, which leaves it "
            f"as it is. Choose another {setting}: a new or an empty folder."
        )


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The content of a record that says no more than whose the folder is."""

    name: str
    """Of what began there."""


def claim(folder: Storage, record: str, name: str, *, setting: str) -> None:
    """`check` a folder, and leave a record in it where there is none.

    folder, record, setting: as for `check`.
    name: for the record.

    Raises:
        UserError: as `check`, and when the record is damaged.
    """
    check(folder, record, setting=setting)
    try:
        records.read(folder, record, Begun, f"Choose another {setting}, or remove {folder.path(record)}.")
    except FileNotFoundError:
        records.write(folder, record, Begun(name=name))
