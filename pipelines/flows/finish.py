"""The end of a run: audits the output folder, and writes manifest, report, dataset card and gallery.

It may be called again at any time: the same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from models.interventions.registry import registered
from pipelines.config.recorded import recorded, recorded_tables
from pipelines.config.tables import Run
from pipelines.dataset import certificate, manifest_json, parquet, report_json, run_json
from pipelines.dataset.manifest_json import Manifest
from pipelines.dataset.names import shard_of
from pipelines.dataset.progress_json import Quotas, timings
from pipelines.dataset.report_json import ArmResult, Report, TimeSpent
from pipelines.dataset.run_json import RunRecord
from pipelines.dataset.schema import scored
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.gallery.certificate import FILE as CERTIFICATE_PAGE
from pipelines.gallery.certificate import certificate_page
from pipelines.gallery.page import gallery
from pipelines.plan import files as plan_files
from pipelines.plan.files import PlannedShard, planned_shards
from pipelines.summary.audit import Audit, check_rest, check_shard, manifest
from pipelines.summary.card import card
from pipelines.summary.report import report
from pipelines.summary.sections import GIVEN_UP_SHOWN

MapShards = Callable[[Callable[[PlannedShard], Audit], Iterable[PlannedShard]], Iterable[Audit]]
"""Applies a picklable function to shards, in their order, like the built-in `map`."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The numbers of the table at the end of a run; counts as in report.json."""

    complete: bool
    """Whether every planned group is in exactly one place."""
    problems: tuple[str, ...]
    """The first few reasons why it is not."""
    problem_count: int
    """How many there are."""
    groups_planned: int
    """Groups in plan/."""
    groups_failed: int
    """Groups in failed/."""
    prompts_failed: int
    """Rows of failed/prompts.parquet."""
    images_kept: int
    """Rows of data/."""
    images_rejected: int
    """Rows of rejected/."""
    arms: tuple[ArmResult, ...]
    """Results of each arm."""
    warnings: tuple[str, ...] = ()
    """As in report.json."""
    timings: TimeSpent | None
    """None where progress.json has none."""
    gallery: str
    """Path or s3:// address of the gallery."""
    quotas: Quotas | None = None
    """As in report.json."""
    certificate: str = ""
    """Path or s3:// address of the page on quotas; "" where there are none."""


def finish(output: Storage, map_shards: MapShards = map) -> Summary:
    """Write manifest.json, report.json, README.md and gallery.html, from the other files of a run.

    output: the output folder.
    map_shards: applied to read the shards, in their order. Every byte of the run is read once for its digest; a large
        run passes a map that spreads this over the cluster.

    Raises:
        UserError: when the folder holds no run, or its plan is not complete.
    """
    run = run_json.read(output)
    title = recorded(run, "run", Run).name
    if run.plan is None:
        raise UserError(f"{output.path(run_json.FILE)}: the plan is not whole yet. Start the run's own command again.")
    plan_files.check_there(output, run.plan.segments)
    further = [scorer["name"] for scorer in recorded_tables(run, "scorers")]
    audit = _audit(output, further, map_shards)
    audit.totals = replace(audit.totals, prompts_planned=run.plan.prompts)
    content = replace(
        report(audit, run.fingerprint, timings(output), _reads_apart(run)), quotas=certificate.totals(output)
    )
    report_json.write(output, content)
    listed = manifest(audit, run.fingerprint)
    text = card(
        title=title,
        run=run,
        report=content,
        manifest=listed,
        columns=_columns(output),
        given_up=certificate.given_up(output, GIVEN_UP_SHOWN),
    )
    output.write_bytes("README.md", text.encode())
    output.write_bytes("gallery.html", gallery(output, title, content).encode())
    if content.quotas:
        output.write_bytes(CERTIFICATE_PAGE, certificate_page(output, title, content.quotas).encode())
    manifest_json.write(output, listed)
    return _summary(content, listed, output)


def _reads_apart(run: RunRecord) -> set[tuple[str, str]]:
    """The arms and interventions of `Intervention.reads_apart`."""
    found = set()
    for entry in registered():
        if entry.reads_apart is None:
            continue
        setting, value = entry.reads_apart
        for arm in recorded_tables(run, "arms"):
            own = arm.get(entry.name)
            settings = run.config.get(entry.name) if own is True else own  # true takes the run's table
            if isinstance(settings, Mapping) and settings.get(setting) == value:
                found.add((arm["name"], entry.name))
    return found


def _columns(output: Storage) -> pa.Schema:
    """The columns of the rows; those that every run has where no shard is finished yet."""
    for name in output.list("data"):
        if shard_of(name) is not None:
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


def _summary(report: Report, listed: Manifest, output: Storage) -> Summary:
    counts = report.counts
    return Summary(
        complete=report.complete,
        problems=listed.problems,
        problem_count=listed.problem_count,
        groups_planned=counts.groups,
        groups_failed=counts.groups_failed,
        prompts_failed=counts.prompts_failed,
        images_kept=counts.images_kept,
        images_rejected=counts.images_rejected,
        arms=report.by_arm,
        warnings=report.warnings,
        timings=report.timings,
        gallery=output.path("gallery.html"),
        quotas=report.quotas,
        certificate=output.path(CERTIFICATE_PAGE) if report.quotas else "",
    )
