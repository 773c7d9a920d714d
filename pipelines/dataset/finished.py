"""Opens a finished run, for exports and further scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipelines.dataset import manifest_json, report_json, retry, run_json
from pipelines.dataset.names import IMAGE_FOLDERS, FileEntry, shard_file, shard_of
from pipelines.dataset.report_json import Report
from pipelines.dataset.run_json import RunRecord
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

T = TypeVar("T")

CONTINUE = "Start the run's own command again (python jobs/synth.py --config ...), and this one when it is done."


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run with all its groups made and its report written."""

    dataset: Storage
    """The output folder."""
    run: RunRecord
    """run.json."""
    report: Report
    """report.json."""
    files: dict[str, FileEntry]
    """The entries of manifest.json by path."""

    def images(self, folder: str) -> Sequence[FileEntry]:
        """The shard files in `data` or `rejected`, in the order of the shards."""
        return [entry for path, entry in sorted(self.files.items()) if path.startswith(f"{folder}/")]


def open_finished(dataset: Storage) -> FinishedRun:
    """The finished run in an output folder.

    Raises:
        UserError: when there is no run, or it is not finished, or has lost files of images.
    """
    run = run_json.read(dataset)
    manifest = _read(manifest_json.read, dataset, "is not finished: it has no manifest.json yet")
    planned, counted = run.plan.groups if run.plan else None, manifest.totals.groups_planned
    if not manifest.complete:
        problem = manifest_json.what_is_missing(manifest.problems, manifest.problem_count)
    elif manifest.fingerprint != run.fingerprint or planned != counted:
        problem = f"run.json plans {planned} groups, manifest.json has counted {counted}"
    elif retry.is_open(dataset):
        problem = "a retry of its failed groups has begun"
    else:
        files = {entry.path: entry for entry in manifest.files}
        _check_names(dataset, files)
        report = _read(report_json.read, dataset, "has lost its report.json")
        _check_there(dataset, manifest.files)
        return FinishedRun(dataset=dataset, run=run, report=report, files=files)
    raise UserError(f"{dataset.uri} is not finished: {problem}. {CONTINUE}")


def check(dataset: Storage, entry: FileEntry) -> None:
    """Check that a file has the size that the manifest gives.

    Raises:
        UserError: when it has another one, or is gone.
    """
    try:
        _compare(dataset, entry, dataset.size(entry.path))
    except FileNotFoundError:
        _compare(dataset, entry, None)


def _check_there(dataset: Storage, entries: Sequence[FileEntry]) -> None:
    """`check` of all files of images, with one request for each folder."""
    for folder in IMAGE_FOLDERS:
        sizes = dataset.sizes(folder)
        for entry in entries:
            within, _, name = entry.path.rpartition("/")
            if within == folder:
                _compare(dataset, entry, sizes.get(name))


def _compare(dataset: Storage, entry: FileEntry, there: int | None) -> None:
    if there != entry.bytes:
        found = "is gone" if there is None else f"has {there} bytes"
        raise UserError(
            f"{dataset.path(entry.path)} {found}, but manifest.json says {entry.bytes} bytes: the folder has changed "
            f"since the run was summed up. {CONTINUE}"
        )


def _check_names(dataset: Storage, files: Iterable[str]) -> None:
    images = [path for path in files if path.startswith(tuple(f"{folder}/" for folder in IMAGE_FOLDERS))]
    for path in images:
        shard = shard_of(path)
        if shard is None or path not in (f"{folder}/{shard_file(shard)}" for folder in IMAGE_FOLDERS):
            raise UserError(
                f"{dataset.path(manifest_json.FILE)}: {path!r} is not named like a file of a run. {CONTINUE}"
            )
    if not any(path.startswith("data/") for path in images):
        raise UserError(f"{dataset.path(manifest_json.FILE)} names no file in data/. {CONTINUE}")


def _read(read: Callable[[Storage, str], T], dataset: Storage, problem: str) -> T:
    try:
        return read(dataset, CONTINUE)
    except FileNotFoundError:
        raise UserError(f"{dataset.uri} {problem}. {CONTINUE}") from None
