"""README.md of an export: the run's dataset card, adapted to the files of the export, and to those who get them: paths
and addresses of the machines that made the run are nobody else's business."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipelines.config.fingerprint import without_places
from pipelines.config.recorded import recorded
from pipelines.config.tables import Run
from pipelines.dataset.ai_mark import SOURCE_TYPE
from pipelines.dataset.certificate import FILE as CERTIFICATE
from pipelines.dataset.certificate import GivenUp
from pipelines.dataset.report_json import Report
from pipelines.dataset.run_json import RunRecord
from pipelines.export.parts import KEPT, Part
from pipelines.pages.markdown import code, table
from pipelines.summary.front_matter import front_matter
from pipelines.summary.sections import column_table, introduction, licence, quota_section, results, settings


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of an export, as its card describes it."""

    part: Part
    """Which."""
    files: str
    """A glob, relative to the target folder."""
    rows: int
    """Number of images."""
    row_bytes: int
    """Size of all rows before compression."""
    file_bytes: int
    """Size of all files."""


def export_card(
    *,
    run: RunRecord,
    report: Report,
    arms: Sequence[str],
    sections: Sequence[Section],
    schema: pa.Schema,
    features: Mapping[str, Any],
    license_name: str,
    mark: bool,
    signed: bool,
    load: str,
    given_up: Sequence[GivenUp] = (),
) -> str:
    """The text of README.md.

    run: run.json of the run.
    report: report.json of the run.
    arms: names of the exported arms.
    sections: the parts of the export.
    schema: of the exported rows.
    features: Hugging Face features that `datasets` finds in the files; none where it does not read them.
    license_name: as the hub names licences.
    mark: whether the image files are marked.
    signed: whether they are signed, too.
    load: Markdown that tells how to read the files.
    given_up: quotas to name, as for a run's card.
    """
    title = recorded(run, "run", Run).name
    images = sum(section.rows for section in sections if section.part.folder == KEPT)
    names = dict.fromkeys(section.part.config for section in sections)
    configs = {name: [section for section in sections if section.part.config == name] for name in names}
    head = front_matter(
        title=title,
        images=images,
        configs={config: {s.part.split: s.files for s in of} for config, of in configs.items() if features},
        license_name=license_name,
        more=[line for config, of in configs.items() if features for line in _info(config, of, features)],
    )
    here = [(f"`{s.files}`", f"{s.rows:,} {'kept' if s.part.folder == KEPT else 'dropped'} images") for s in sections]
    parts = [
        head,
        f"# {code(title)}\n",
        introduction(images, report.counts.prompts),
        "## What is here\n",
        table(
            ("path", "holds"),
            [
                *here,
                *([(f"`{CERTIFICATE}`", "a row for each quota of the run")] if report.quotas else []),
                ("`export.json`", "the run it comes from, the choices, and the source rows of every file"),
                ("`manifest.json`", "every file with bytes and sha256"),
            ],
        ),
        *quota_section(report.quotas, given_up, "It is of the whole run, whatever of it is here."),
        results([arm for arm in report.by_arm if arm.arm in arms]),
        "## Load it\n",
        load,
        "## Columns\n",
        f"Row schema version {run.schema_version}.\n",
        column_table(schema),
        _mark(mark, signed),
        settings(replace(run, config=without_places(run.config))),
        licence(license_name),
    ]
    return "\n".join(parts)


def _mark(mark: bool, signed: bool) -> str:
    """The section on how a file says that a model has made it."""
    text = (
        f"Every image file says so itself: its XMP has the IPTC's DigitalSourceType `{SOURCE_TYPE}`. The pixels, and "
        "`image_id`, are as the model made them."
    )
    text += " It is signed with content credentials (C2PA), which say by whom." if signed else ""
    without = "The image files do not say so themselves: they were exported with `--no-mark`."
    return f"## Made by a model\n\n{text if mark else without}\n"


def _info(config: str, sections: Sequence[Section], features: Mapping[str, Any]) -> list[str]:
    """`dataset_info` of a config: one line of JSON (which is YAML too) per column."""
    return [
        f"- config_name: {config}",
        "  features:",
        *(f"  - {json.dumps(column)}" for column in yaml_features(features)),
        "  splits:",
        *(
            line
            for of in sections
            for line in (
                f"  - name: {of.part.split}",
                f"    num_bytes: {of.row_bytes}",
                f"    num_examples: {of.rows}",
            )
        ),
        f"  download_size: {sum(of.file_bytes for of in sections)}",
        f"  dataset_size: {sum(of.row_bytes for of in sections)}",
    ]


def yaml_features(features: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Features in the form of a card's front matter, which is shorter than that of Parquet's metadata."""
    return [{"name": name, **_short(feature)} for name, feature in features.items()]


def _short(feature: Mapping[str, Any]) -> dict[str, Any]:
    if "_type" not in feature:
        return {"struct": yaml_features(feature)}
    if feature["_type"] == "List":
        inner = _short(feature["feature"])
        length = {"length": feature["length"]} if "length" in feature else {}
        of_one_key = set(inner) in ({"dtype"}, {"struct"})
        return {"list": next(iter(inner.values())) if of_one_key else inner, **length}
    return {"dtype": feature["dtype"] if feature["_type"] == "Value" else feature["_type"].lower()}
