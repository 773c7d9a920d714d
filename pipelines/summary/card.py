"""README.md of a run: a dataset card for people, the Hugging Face hub and `datasets`."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipelines.dataset.certificate import GivenUp
from pipelines.dataset.manifest_json import Manifest, what_is_missing
from pipelines.dataset.prompt_columns import SOURCE_IMAGES
from pipelines.dataset.report_json import Report
from pipelines.dataset.run_json import RunRecord
from pipelines.pages.markdown import code, table
from pipelines.summary.front_matter import OTHER, front_matter
from pipelines.summary.readers import readers_of_run
from pipelines.summary.sections import column_table, introduction, licence, quota_section, results, settings


def card(
    *,
    title: str,
    run: RunRecord,
    report: Report,
    manifest: Manifest,
    columns: pa.Schema,
    given_up: Sequence[GivenUp] = (),
) -> str:
    """The text of README.md. Texts of the user are quoted in the front matter, and code spans elsewhere.

    title: name of the run.
    run: run.json.
    report: report.json.
    manifest: manifest.json.
    columns: schema of the rows.
    given_up: quotas to name, at most `pipelines.summary.sections.GIVEN_UP_SHOWN`.
    """
    counts = report.counts
    rejected = counts.images_rejected
    failures = f"{counts.groups_failed:,} groups and {counts.prompts_failed:,} prompts"
    parts = [
        front_matter(
            title=title,
            images=counts.images_kept,
            configs={
                "default": {"train": "data/*.parquet"},
                **({"rejected": {"train": "rejected/*.parquet"}} if rejected else {}),
            },
        ),
        f"# {code(title)}\n",
        introduction(counts.images_kept, counts.prompts),
        _completeness(manifest),
        "## What is here\n",
        table(
            ("path", "holds"),
            [
                ("`data/*.parquet`", f"{counts.images_kept:,} kept images, one per row"),
                ("`rejected/*.parquet`", f"{rejected:,} dropped images, same columns, with `drop_reason`"),
                ("`failed/*.parquet`", f"{failures} that could not be done, with the error"),
                *_sources(columns),
                ("`plan/*.parquet`", f"the {counts.groups:,} groups of the run, written before the first image"),
                ("`run.json`", "every setting, versions and the fingerprint"),
                ("`manifest.json`", "every file with rows, bytes and sha256"),
                ("`report.json`", "counts, scores and diversity with 95 % intervals"),
                ("`gallery.html`", "a page to look at the groups, opens in any browser"),
            ],
        ),
        *quota_section(report.quotas, given_up, "`certificate.html` is a page on them."),
        results(report.by_arm),
        *(f"**Warning**: {warning}.\n" for warning in report.warnings),
        "## Load it\n",
        readers_of_run(columns),
        "## Columns\n",
        f"Row schema version {run.schema_version}.\n",
        column_table(columns),
        settings(run),
        licence(OTHER),
    ]
    return "\n".join(parts)


def _sources(columns: pa.Schema) -> list[tuple[str, str]]:
    """The line on the pictures that prompts edit."""
    holds = "the pictures that the prompts edit, as they were given, by the ids in `source_images` and `source_mask`"
    return [("`sources/*.parquet`", holds)] if SOURCE_IMAGES in columns.names else []


def _completeness(manifest: Manifest) -> str:
    if manifest.complete:
        return "The run is complete: every planned group is in exactly one place (`manifest.json`).\n"
    missing = code(what_is_missing(manifest.problems, manifest.problem_count))
    return (
        f"**The run is not complete**: {missing}. Start the same job again to finish it; `manifest.json` names "
        "what is missing.\n"
    )
