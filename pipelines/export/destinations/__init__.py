"""Where an export can be published: what the words of a command line mean."""

from __future__ import annotations

import re

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.destinations.base import Destination

_HUB = re.compile(r"(?:hf://datasets/)?([\w.-]+/[\w.-]+?)/?")


def destination(words: str, *, public: bool) -> Destination:
    """The destination that words name.

    words: `OWNER/NAME` or `hf://datasets/OWNER/NAME` for a dataset of the Hugging Face hub, `s3://bucket/folder`, or
        `file:///folder`.
    public: whether everybody may read it; the hub's only.

    Raises:
        UserError: when they name none of these.
    """
    if found := _HUB.fullmatch(words):
        from pipelines.export.destinations.hub import Hub

        return Hub(found[1], public=public)
    if not words.startswith(("s3://", "file://")):
        raise UserError(
            f"--to {words!r}: write OWNER/NAME or hf://datasets/OWNER/NAME for a dataset of the Hugging Face hub, "
            "s3://bucket/folder, or file:///folder"
        )
    if public:
        raise UserError(f"--public is for the hub: who may read {words} is decided by its own settings")
    from pipelines.export.destinations.folder import Folder

    return Folder(Storage.open(words))
