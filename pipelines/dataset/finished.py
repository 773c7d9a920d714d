"""A finished run, for what comes after it: exports and other scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.dataset import retry
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

GO_ON = "Start the run's own command again (python jobs/synth.py --config ...), and this one when it is done."


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """run, report: the contents of run.json and report.json; files: manifest.json's entries by path."""

    dataset: Storage
    run: dict[str, Any]
    report: dict[str, Any]
    files: dict[str, FileEntry]

    def images(self, folder: str) -> Sequence[FileEntry]:
        """The shard files in `data` or `rejected`, in the order of the shards."""
        return [entry for path, entry in sorted(self.files.items()) if path.startswith(f"{folder}/")]


def open_finished(dataset: Storage) -> FinishedRun:
    """The run in a folder. Raises UserError where there is none, or where it is not finished."""
    run = _json(dataset, "run.json", "holds no run. Give --dataset the output folder of jobs/synth.py.")
    manifest = _json(dataset, "manifest.json", f"is not finished: it has no manifest.json yet. {GO_ON}")
    planned, counted = (run["plan"] or {}).get("groups"), manifest["totals"]["groups_planned"]
    if not manifest["complete"]:
        problem = f"manifest.json names {manifest['problem_count']} problems, the first: {manifest['problems'][0]}"
    elif manifest["fingerprint"] != run["fingerprint"] or planned != counted:
        problem = f"run.json plans {planned} groups, manifest.json has counted {counted}"
    elif retry.is_open(dataset):
        problem = "a retry of its failed groups has begun"
    else:
        files = {entry["path"]: FileEntry(**entry) for entry in manifest["files"]}
        report = _json(dataset, "report.json", f"has lost its report.json. {GO_ON}")
        return FinishedRun(dataset=dataset, run=run, report=report, files=files)
    raise UserError(f"{dataset.uri} is not finished: {problem}. {GO_ON}")


def check(dataset: Storage, entry: FileEntry) -> None:
    """Raises UserError where a file is not as long as the manifest says."""
    there = dataset.size(entry.path)
    if there != entry.bytes:
        raise UserError(
            f"{dataset.path(entry.path)} has {there} bytes, but manifest.json says {entry.bytes}: the run has gone on "
            f"since it was summed up. {GO_ON}"
        )


def _json(dataset: Storage, name: str, otherwise: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(dataset.read_bytes(name))
    except FileNotFoundError:
        raise UserError(f"{dataset.uri} {otherwise}") from None
    except ValueError as error:
        raise UserError(f"{dataset.path(name)} is not valid JSON: {error}. {GO_ON}") from error
    return content
