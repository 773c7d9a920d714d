"""A dataset of the Hugging Face hub: files are sent in commits, and what is there decides what is left to send."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from pipelines.dataset.names import EXPORT_RECORD, FileEntry
from pipelines.dataset.outages import PATIENCE_AT_THE_START_SECONDS, PATIENCE_SECONDS, causes, retry_transient
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import is_s3
from pipelines.errors import UserError
from pipelines.export.destinations.base import check_digest

T = TypeVar("T")

_KIND = "dataset"
_OF_THE_HUB = (".gitattributes",)
"""Files that the hub makes itself."""
_MOST_FILES_IN_A_FOLDER = 10_000
"""A rule of the hub."""
_TOKEN = "Set HF_TOKEN to a token that may write there, or log in with: hf auth login"
_AGAIN = "Start the same command again: what is there is not sent again"
_SIGNED = re.compile(r"(?<=\w)\?[^\s'\"]*")
"""The query of an address, which may hold a signature that lets its reader write."""


class Hub:
    """A `Destination`. The token is that of the environment (HF_TOKEN) or of `hf auth login`; HF_ENDPOINT selects
    another hub. A request that fails is tried again; so is a commit, after a look at what is there, as its answer may
    have been lost.

    name: OWNER/NAME.
    public: whether a dataset that is not there yet is made for everybody to read.
    """

    batch_files = 500

    def __init__(self, name: str, *, public: bool) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        # Its warnings show signed addresses, to which whoever reads them could write.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        self.uri = f"hf://datasets/{name}"
        self._name = name
        self._public = public
        self._api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)

    def claim(self, files: Sequence[FileEntry], source: Storage) -> None:
        self._check_counts(files)
        self._open()
        there = self._there()
        record = next(entry for entry in files if entry.path == EXPORT_RECORD)
        if EXPORT_RECORD in there:
            if not self._is_good(record, there, source):
                raise UserError(f"{self.uri} holds another export than {source.uri}. Choose another --to")
        elif others := sorted({*there} - {*_OF_THE_HUB}):
            raise UserError(
                f"{self.uri} is not empty ({', '.join(others[:5])}), and has no {EXPORT_RECORD}, so that it is not of "
                "this job, which leaves it as it is. Choose another --to: a new or an empty dataset"
            )

    def missing(self, files: Sequence[FileEntry], source: Storage) -> Sequence[FileEntry]:
        there = self._there()
        return [entry for entry in files if not self._is_good(entry, there, source)]

    def send(self, files: Sequence[FileEntry], source: Storage) -> None:
        from huggingface_hub import CommitOperationAdd

        left: Sequence[FileEntry] | None = None

        def commit() -> None:
            nonlocal left
            left = files if left is None else self._left(left, source)
            with ExitStack() as stack:
                additions = []
                for entry in left:
                    # From the disk by its path, as then the hub's own protocol (Xet) sends only chunks that are new.
                    content: Any = source.path(entry.path)
                    if is_s3(source.uri):
                        content = stack.enter_context(source.open_input(entry.path))
                    addition = CommitOperationAdd(entry.path, content)
                    check_digest(source, entry, addition.upload_info.sha256.hex())
                    additions.append(addition)
                if additions:
                    words = _message([entry.path for entry in left])
                    self._api.create_commit(self._name, additions, commit_message=words, repo_type=_KIND)

        self._do("write to", commit)

    def _left(self, files: Sequence[FileEntry], source: Storage) -> Sequence[FileEntry]:
        """Those of a few files that are not there as they are here."""
        found = self._api.get_paths_info(self._name, [entry.path for entry in files], repo_type=_KIND)
        there = {entry.path: entry for entry in found}
        return [entry for entry in files if not self._is_good(entry, there, source)]

    def _open(self) -> None:
        """Check that the dataset is there, or make it."""
        from huggingface_hub.errors import RepositoryNotFoundError

        def look() -> bool | None:
            try:
                return bool(self._api.dataset_info(self._name).private)
            except RepositoryNotFoundError:
                return None

        private = self._do("look at", look, patience_seconds=PATIENCE_AT_THE_START_SECONDS)
        if private is None:
            self._do(
                "make",
                lambda: self._api.create_repo(self._name, private=not self._public, repo_type=_KIND, exist_ok=True),
                patience_seconds=PATIENCE_AT_THE_START_SECONDS,
            )
        elif private is self._public:
            now, wanted = ("private", "leave --public out") if private else ("public", "add --public")
            raise UserError(f"{self.uri} is there, and {now}: {wanted}, or change this in its settings on the hub")

    def _there(self) -> dict[str, Any]:
        """Path -> what the hub knows of each file."""
        from huggingface_hub import RepoFile

        tree = self._do("list", lambda: list(self._api.list_repo_tree(self._name, recursive=True, repo_type=_KIND)))
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def _is_good(self, entry: FileEntry, there: dict[str, Any], source: Storage) -> bool:
        """Whether a file is there with the size and the hash that it has here."""
        from huggingface_hub.utils import sha

        file = there.get(entry.path)
        if file is None or file.size != entry.bytes:
            return False
        if file.lfs is not None:
            return bool(file.lfs.sha256 == entry.sha256)
        return bool(file.blob_id == sha.git_hash(source.read_bytes(entry.path)))  # small ones: git's own hash

    def _check_counts(self, files: Sequence[FileEntry]) -> None:
        counts: dict[str, int] = {}
        for entry in files:
            folder = entry.path.rpartition("/")[0]
            counts[folder] = counts.get(folder, 0) + 1
            if counts[folder] > _MOST_FILES_IN_A_FOLDER:
                raise UserError(
                    f"{self.uri}: the hub takes at most {_MOST_FILES_IN_A_FOLDER:,} files in a folder, and "
                    f"{folder or 'the export'} has more. Export with other --shard-bytes, or another --format"
                )

    def _do(self, action: str, request: Callable[[], T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
        from huggingface_hub import constants
        from huggingface_hub.errors import HFValidationError

        if constants.HF_HUB_OFFLINE:
            raise UserError(f"cannot {action} {self.uri}: HF_HUB_OFFLINE is set. Unset it to publish")
        try:
            return retry_transient(request, patience_seconds)
        except HFValidationError as error:
            raise UserError(f"--to {self._name!r} is no name of a dataset: {error}") from error
        except (OSError, RuntimeError, ValueError) as error:  # as the hub's client and its Xet protocol raise them
            raise UserError(f"cannot {action} {self.uri}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, on one line, and what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    answer = next((cause for cause in causes(error) if isinstance(cause, HfHubHTTPError)), None)
    status = answer.response.status_code if answer else None
    said = " ".join(((answer.server_message if answer else None) or str(error)).split()).rstrip(".")
    said = _SIGNED.sub("", said)
    return f"{said}. {_TOKEN if status in (401, 403) else _AGAIN}"


def _message(paths: Sequence[str]) -> str:
    """A commit's message."""
    return f"Add {paths[0]}" + (f" and {len(paths) - 1} more files" if len(paths) > 1 else "")
