"""The end of a run: look at what lies in the output folder and write what a person and a machine want to know of it.

Safe to call again at any time: the same folder gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dataset.progress_json import timings
from pipelines.dataset.schema import scored
from pipelines.dataset.storage import Storage
from pipelines.gallery.page import gallery
from pipelines.plan.files import PlannedShard, planned_shards
from pipelines.summary.audit import Audit, check_rest, check_shard, manifest
from pipelines.summary.card import card
from pipelines.summary.report import report
from pipelines.summary.tally import arms_of, over_rarities

MapShards = Callable[[Callable[[PlannedShard], Audit], Iterable[PlannedShard]], Iterable[Audit]]
"""Applies a picklable function to shards, in their order, like the built-in `map`."""


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm in the end table: means over its images; None where there is no value."""

    arm: str
    images: int
    kept: int
    clip_score: float | None
    clip_margin: float | None
    group_vendi: float | None
    pair_vendi: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end table of a run."""

    complete: bool
    groups_planned: int
    groups_failed: int
    prompts_failed: int
    images_kept: int
    images_rejected: int
    arms: tuple[ArmSummary, ...]
    timings: dict[str, Any] | None
    """As in report.json."""
    gallery: str
    """Where the gallery lies: a path, or an s3:// address."""


def finish(output: Storage, map_shards: MapShards = map) -> Summary:
    """Write manifest.json, report.json, README.md and gallery.html from run.json, plan/, data/, rejected/ and failed/,
    and the timings in progress.json.

    map_shards: how the shards are read. Every byte of the run is read once for its digest; a large run passes a map
    that spreads this over the cluster, in the order of the shards.
    """
    run = json.loads(output.read_bytes("run.json"))
    further = [f"{scorer['name']}_clip_score" for scorer in run["config"].get("scorers", ())]
    audit = _audit(output, further, map_shards)
    audit.prompts_planned = run["plan"]["prompts"]
    title, fingerprint = run["config"]["run"]["name"], run["fingerprint"]
    content = report(audit, fingerprint, timings(output))
    output.write_bytes("report.json", _json(content))
    output.write_bytes("README.md", card(title=title, run=run, report=content, columns=_columns(output)).encode())
    output.write_bytes("gallery.html", gallery(output, title, content).encode())
    output.write_bytes("manifest.json", _json(manifest(audit, fingerprint)))
    return _summary(audit, content.get("timings"), output.path("gallery.html"))


def _columns(output: Storage) -> pa.Schema:
    """The columns of the rows; where no shard is finished yet, those that every run has."""
    for name in output.list("data"):
        with output.open_input(f"data/{name}") as source:
            return pq.read_schema(source)
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


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _summary(audit: Audit, time_spent: dict[str, Any] | None, gallery_path: str) -> Summary:
    arms = []
    for arm in arms_of(audit.cells):
        cell = over_rarities(audit.cells, arm)
        arms.append(
            ArmSummary(
                arm=arm,
                images=cell.images,
                kept=cell.kept,
                clip_score=cell.clip_score.mean,
                clip_margin=cell.clip_margin.mean,
                group_vendi=cell.group_vendi.mean,
                pair_vendi=cell.pair_vendi.mean,
            )
        )
    return Summary(
        complete=audit.complete,
        groups_planned=audit.groups_planned,
        groups_failed=audit.groups_failed,
        prompts_failed=audit.prompts_failed,
        images_kept=audit.images_kept,
        images_rejected=audit.images_rejected,
        arms=tuple(arms),
        timings=time_spent,
        gallery=gallery_path,
    )
