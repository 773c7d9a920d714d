"""Audits a run: lists its files, and checks that every planned group is in exactly one place.

`check_shard` reads the files of one shard only, so the caller may run it on any machine, for many shards at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pyarrow as pa

from pipelines.dataset import certificate, parquet, run_json, sources
from pipelines.dataset.manifest_json import NOTHING, Manifest, Totals
from pipelines.dataset.names import SHARD_FOLDERS, FileEntry, file_entry, shard_file, shard_of
from pipelines.dataset.schema import VERSION
from pipelines.dataset.storage import Storage
from pipelines.plan.files import FAILED_PROMPTS, PlannedShard, is_part, parts
from pipelines.summary.tally import (
    COLUMNS,
    OF_SOME_RUNS,
    Cell,
    CellKey,
    add_cells,
    cell_keys,
    further_columns,
    tally_images,
)

PROBLEMS_SHOWN = 20
"""Most problems that are kept."""


@dataclass(kw_only=True)
class Audit:
    """What was found in one shard or, added up, in a run."""

    files: list[FileEntry] = field(default_factory=list)
    """All files."""
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    """Counts per arm and rarity."""
    totals: Totals = NOTHING
    """How much was planned and found; prompts_planned is set by the caller for a whole run."""
    problem_count: int = 0
    """How many reasons there are why the run is not complete."""
    problems: list[str] = field(default_factory=list)
    """The first few of them."""

    def add_problem(self, problem: str) -> None:
        """Add a reason why the run is not complete; only the first few are kept."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)

    def add(self, other: Audit) -> None:
        """Add the audit of further shards."""
        self.files += other.files
        add_cells(self.cells, other.cells)
        self.totals += other.totals
        self.problem_count += other.problem_count
        self.problems = [*self.problems, *other.problems][:PROBLEMS_SHOWN]

    @property
    def complete(self) -> bool:
        """Whether every planned group is once in `data/` and `rejected/`, with all images, or in `failed/`."""
        return self.problem_count == 0


def check_shard(output: Storage, further: Sequence[str], planned: PlannedShard) -> Audit:
    """The audit of one shard.

    output: the output folder.
    further: names of the run's further scorers.
    planned: the shard in the plan.
    """
    audit = Audit(totals=replace(NOTHING, groups_planned=planned.groups.num_rows))
    ids = cast("list[str]", planned.groups["group_id"].to_pylist())
    key_of = dict(zip(ids, cell_keys(planned.groups), strict=True))
    for key in key_of.values():
        audit.cells.setdefault(key, Cell()).groups_planned += 1
    name = shard_file(planned.shard)
    if not output.exists(f"data/{name}"):
        audit.add_problem(f"data/{name} is not there: the shard is not finished")
        return audit

    images, failed = [], pa.table({"group_id": pa.array([], pa.string())})
    for folder in SHARD_FOLDERS:
        path = f"{folder}/{name}"
        if folder != "data" and not output.exists(path):
            continue
        audit.files.append(file_entry(output, path))
        if folder == "failed":
            failed = parquet.read(output, path, ["group_id"])
        else:
            with parquet.opened(output, path) as file:
                there = [column for column in OF_SOME_RUNS if column in file.schema.names]
                images.append(file.read([*COLUMNS, *further_columns(further), *there]))
    kept, rejected = images[0].num_rows, sum(table.num_rows for table in images[1:])
    audit.totals = replace(audit.totals, images_kept=kept, images_rejected=rejected)
    rows = pa.concat_tables(images)
    add_cells(audit.cells, tally_images(rows, further))
    _account(audit, planned.shard, key_of, rows, failed["group_id"].to_pylist())
    return audit


def _account(audit: Audit, shard: int, key_of: dict[str, CellKey], images: pa.Table, failed: list[str | None]) -> None:
    found: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for group, index, size in zip(
        *(images[c].to_pylist() for c in ("group_id", "index_in_group", "group_size")), strict=True
    ):
        found.setdefault(group, []).append(index)
        sizes[group] = size
    whole = {group for group, indices in found.items() if sorted(indices) == list(range(sizes[group]))}
    failures = Counter(failed)
    done, given_up = len(key_of.keys() & whole), len(key_of.keys() & failures.keys())
    audit.totals = replace(audit.totals, groups_done=done, groups_failed=given_up)
    remedy = f"remove data/{shard_file(shard)} first, so that the shard is made anew"
    for group, key in key_of.items():
        audit.cells[key].groups_failed += group in failures
        if (group in found) + failures[group] != 1:
            audit.add_problem(
                f"shard {shard}: group {group} has {len(found.get(group, ()))} images and {failures[group]} failed "
                f"rows: {remedy}"
            )
        elif group in found and group not in whole:
            there = f"images {sorted(found[group])} of {sizes[group]}"
            audit.add_problem(f"shard {shard}: group {group} has {there}: {remedy}")
    for group in (found.keys() | failures.keys()) - key_of.keys():
        audit.add_problem(f"shard {shard}: group {group} is not in the plan: {remedy}")


def check_rest(output: Storage, shards: set[int]) -> Audit:
    """The audit of all files that belong to no planned shard: run.json, the plan, pictures to edit, failed prompts, and
    those of others.

    output: the output folder.
    shards: numbers of the planned shards.
    """
    certificates = [certificate.FILE] if output.exists(certificate.FILE) else []
    listed = (run_json.FILE, *parts(output), *sources.files(output), *certificates)
    audit = Audit(files=[file_entry(output, path) for path in listed])
    for folder in ("plan", sources.FOLDER, *SHARD_FOLDERS):
        for name in (*output.list(folder), *output.folders(folder)):
            path = f"{folder}/{name}"
            if path == FAILED_PROMPTS:
                audit.files.append(file_entry(output, path))
                audit.totals = replace(NOTHING, prompts_failed=audit.files[-1].rows or 0)
            elif not _is_of_run(folder, name, shards):
                audit.add_problem(f"{path} is none of this run's files: move it elsewhere first")
    return audit


def _is_of_run(folder: str, name: str, shards: set[int]) -> bool:
    if folder == sources.FOLDER:
        return sources.is_file(name)
    return is_part(name) if folder == "plan" else shard_of(name) in shards


def manifest(audit: Audit, fingerprint: str) -> Manifest:
    """The content of manifest.json.

    audit: of the whole run.
    fingerprint: of the run.
    """
    return Manifest(
        schema_version=VERSION,
        fingerprint=fingerprint,
        complete=audit.complete,
        problems=tuple(audit.problems),
        problem_count=audit.problem_count,
        totals=audit.totals,
        files=tuple(sorted(audit.files, key=lambda entry: entry.path)),
    )
