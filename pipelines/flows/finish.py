"""The end of a run: look at what lies in the output folder and write what a person and a machine want to know of it.

Safe to call again at any time: the same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from pipelines.config.recorded import recorded
from pipelines.config.tables import Run
from pipelines.dataset import manifest_json, parquet, report_json, run_json
from pipelines.dataset.progress_json import timings
from pipelines.dataset.report_json import ArmResult, Report, TimeSpent
from pipelines.dataset.schema import scored
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.gallery.page import gallery
from pipelines.plan.files import PlannedShard, planned_shards
from pipelines.summary.audit import Audit, check_rest, check_shard, manifest
from pipelines.summary.card import card
from pipelines.summary.report import report

MapShards = Callable[[Callable[[PlannedShard], Audit], Iterable[PlannedShard]], Iterable[Audit]]
"""Applies a picklable function to shards, in their order, like the built-in `map`."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end table of a run."""

    complete: bool
    groups_planned: int
    groups_failed: int
    prompts_failed: int
    images_kept: int
    images_rejected: int
    arms: tuple[ArmResult, ...]
    timings: TimeSpent | None
    """None where no session has noted any."""
    gallery: str
    """Where the gallery lies: a path, or an s3:// address."""


def finish(output: Storage, map_shards: MapShards = map) -> Summary:
    """Write manifest.json, report.json, README.md and gallery.html from run.json, plan/, data/, rejected/ and failed/,
    and the timings in progress.json.

    map_shards: how the shards are read. Every byte of the run is read once for its digest; a large run passes a map
    that spreads this over the cluster, in the order of the shards.
    """
    run = run_json.read(output)
    title = recorded(run, "run", Run).name
    if run.plan is None:
        raise UserError(f"{output.path(run_json.FILE)}: the plan is not whole yet. Start the run's own command again.")
    further = [f"{scorer['name']}_clip_score" for scorer in run.config.get("scorers", ())]
    audit = _audit(output, further, map_shards)
    audit.prompts_planned = run.plan.prompts
    content = report(audit, run.fingerprint, timings(output))
    report_json.write(output, content)
    output.write_bytes("README.md", card(title=title, run=run, report=content, columns=_columns(output)).encode())
    output.write_bytes("gallery.html", gallery(output, title, content).encode())
    manifest_json.write(output, manifest(audit, run.fingerprint))
    return _summary(content, output.path("gallery.html"))


def _columns(output: Storage) -> pa.Schema:
    """The columns of the rows; where no shard is finished yet, those that every run has."""
    for name in output.list("data"):
        return parquet.schema_of(output, f"data/{name}")
    return scored(1)


def _audit(output: Storage, further: Sequence[str], map_shards: MapShards) -> Audit:
    audit = Audit()
    shards: set[int] = set()

    def counted() -> Iterator[PlannedShard]:
        for planned in planned_shards(output):
            shards.add(planned.shard)
            yield planned

    for found in map_shards(partial(check_shard, output, further), counted()):
        audit.add(found)
    audit.add(check_rest(output, shards))
    return audit


def _summary(report: Report, gallery_path: str) -> Summary:
    counts = report.counts
    return Summary(
        complete=report.complete,
        groups_planned=counts.groups,
        groups_failed=counts.groups_failed,
        prompts_failed=counts.prompts_failed,
        images_kept=counts.images_kept,
        images_rejected=counts.images_rejected,
        arms=report.by_arm,
        timings=report.timings,
        gallery=gallery_path,
    )
