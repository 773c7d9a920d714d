"""README.md of a run: a dataset card for people, the Hugging Face hub and `datasets`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipelines.dataset.certificate import GivenUp
from pipelines.dataset.features import holds_mp4
from pipelines.dataset.manifest_json import Manifest, what_is_missing
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.prompt_columns import SOURCE_IMAGES
from pipelines.dataset.records import to_json
from pipelines.dataset.report_json import ArmResult, Interval, Report
from pipelines.dataset.run_json import RunRecord
from pipelines.dataset.schema import of_videos
from pipelines.dataset.score_columns import meaning

_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)


def size_category(images: int) -> str:
    """The hub's size category of a dataset.

    images: number of rows.
    """
    return next((name for limit, name in _SIZES if images < limit), "n>1B")


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
    given_up: quotas to name, at most `GIVEN_UP_SHOWN`.
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
        readers(columns) + _BY_ARROW + ("" if of_videos(columns) else _BY_TORCH),
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


GIVEN_UP_SHOWN = 10
"""Most quotas that were given up which a card names."""


def quota_section(quotas: Quotas | None, given_up: Sequence[GivenUp], more: str) -> list[str]:
    """The section on quotas; none where a run has no quotas.

    quotas: the sums over all quotas of the run.
    given_up: those that the section names, at most `GIVEN_UP_SHOWN`.
    more: a sentence on what else there is on them.
    """
    if quotas is None:
        return []
    text = (
        f"## Quotas\n\n{quotas.met:,} of {quotas.quotas:,} quotas are met: {quotas.accepted:,} of {quotas.asked:,} "
        f"images were accepted, out of {quotas.made:,} made. `certificate.parquet` has a row for each quota, with "
        f"what was made for it and what is to be had yet. {more}\n"
    )
    if not given_up:
        return [text]
    named = table(
        ("given up", "accepted", "asked", "made", "reason"),
        [(code(one.quota), f"{one.accepted:,}", f"{one.asked:,}", f"{one.made:,}", one.reason) for one in given_up],
    )
    rest = quotas.quotas - quotas.met - len(given_up)
    return [text, named, *([f"{rest:,} more {'was' if rest == 1 else 'were'} given up.\n"] if rest else [])]


OTHER = "other"
"""The hub's name of a licence that is not in its list."""


def column_table(schema: pa.Schema) -> str:
    """A Markdown table of columns with type and meaning."""
    return table(
        ("column", "type", "meaning"),
        [(f"`{field.name}`", f"`{_type_name(field.type)}`", meaning(field)) for field in schema],
    )


def introduction(images: int, prompts: int) -> str:
    """The first paragraph.

    images: number of images.
    prompts: number of prompts of the run, some of which may have no image here.
    """
    return (
        f"{images:,} images from a run over {prompts:,} prompts, made with Raydiance. Every prompt is "
        "drawn as groups of images; each image is scored, compared with the others of its group, and kept or dropped "
        "inside that group, so that no global threshold cuts the rare concepts away.\n"
    )


def settings(run: RunRecord) -> str:
    """The section with the content of run.json."""
    text = json.dumps(to_json(run), indent=1, ensure_ascii=False, sort_keys=True)
    return f"## Settings\n\n```json\n{text}\n```\n"


def licence(name: str) -> str:
    """The section on the licence.

    name: as the hub names licences.
    """
    status = f"`license: {name}`" + (" is a placeholder." if name == OTHER else " was chosen with the export.")
    advice = " Set it before you publish." if name == OTHER else ""
    terms = " The terms of the model that drew the images and of the prompts decide."
    return f"## Licence\n\n{status}{terms}{advice}\n"


def front_matter(
    *,
    title: str,
    images: int,
    configs: Mapping[str, Mapping[str, str]],
    license_name: str = OTHER,
    more: Sequence[str] = (),
) -> str:
    """The YAML at the head of a card.

    title: name of the dataset.
    images: number of images.
    configs: name -> split -> glob of its files, the default config first.
    license_name: as the hub names licences.
    more: the lines of YAML in `dataset_info`.
    """

    def config(name: str, splits: Mapping[str, str], default: bool) -> list[str]:
        mark = ["  default: true"] if default else []
        files = [line for split, path in splits.items() for line in (f"  - split: {split}", f"    path: {path}")]
        return [f"- config_name: {name}", *mark, "  data_files:", *files]

    lines = [
        "---",
        f"license: {license_name}",
        f"pretty_name: {_yaml_string(title)}",
        "task_categories:",
        "- text-to-image",
        "tags:",
        *(f"- {tag}" for tag in ("synthetic", "rare-concepts", "diversity", "diffusion", "raydiance")),
        "size_categories:",
        f"- {size_category(images)}",
        *(["configs:"] if configs else []),
        *(line for at, (name, splits) in enumerate(configs.items()) for line in config(name, splits, at == 0)),
        *(["dataset_info:", *more] if more else []),
        "---\n",
    ]
    return "\n".join(lines)


def _yaml_string(text: str) -> str:
    """A text as a YAML string on one line: a JSON string, with YAML's escapes for letters that are not printable."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _completeness(manifest: Manifest) -> str:
    if manifest.complete:
        return "The run is complete: every planned group is in exactly one place (`manifest.json`).\n"
    missing = code(what_is_missing(manifest.problems, manifest.problem_count))
    return (
        f"**The run is not complete**: {missing}. Start the same job again to finish it; `manifest.json` names "
        "what is missing.\n"
    )


def results(by_arm: Sequence[ArmResult]) -> str:
    """The section with results.

    by_arm: of report.json.
    """
    moved = list(dict.fromkeys(name for arm in by_arm for name in arm.displacement or ()))
    further = [column for arm in by_arm[:1] for column in arm.further or ()]
    rows = [
        (
            code(arm.arm),
            f"{arm.images:,}",
            f"{arm.kept:,}",
            _plus_minus(arm.clip_score),
            _plus_minus(arm.clip_margin),
            _plus_minus(arm.group_vendi),
            _plus_minus(arm.pair_vendi),
            *(_plus_minus((arm.displacement or {}).get(name)) for name in moved),
            *(_plus_minus((arm.further or {})[column]) for column in further),
        )
        for arm in by_arm
    ]
    head = ["arm", "images", "kept", "clip_score", "clip_margin", "group_vendi", "pair_vendi"]
    head += [*(f"displacement.{name}" for name in moved), *further]
    lead = "## Results\n\nMean with 95 % interval over all scored images, kept and dropped.\n"
    return f"{lead}\n{table(head, rows)}"


def _plus_minus(value: Interval | None) -> str:
    if value is None or value.mean is None:
        return "–"
    return f"{value.mean:.3f}" + ("" if value.half_width is None else f" ± {value.half_width:.3f}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    head: headings of the columns.
    rows: cells of each row.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def code(text: str) -> str:
    """A text as a code span on one line, in which no markup works; it may be in a table."""
    flat = " ".join(text.replace("`", "'").replace("|", "/").split())
    return f"`{flat}`"


def _type_name(kind: pa.DataType) -> str:
    """A short name of a type, without the fields of structs and the length of image vectors."""
    if pa.types.is_fixed_size_list(kind):
        return "fixed_size_list<float16>"
    if pa.types.is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<bytes, path>" if kind.field(0).name == "bytes" else "struct"
    return str(kind)


DUCKDB = """-- DuckDB; a folder above that is named like seed=7 must not become a column
SELECT arm, rarity, count(*) AS images, avg(clip_score) AS score, avg(group_vendi) AS diversity
FROM read_parquet('data/*.parquet', hive_partitioning = false) GROUP BY ALL ORDER BY ALL;"""
"""A query that every folder of Parquet files answers."""

_AS_PICTURES = """from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train")
rows[0]["image"]  # a PIL image"""
_AS_MP4 = """from datasets import Video, load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train")
rows.cast_column("image", Video(decode=False))[0]["image"]["bytes"]  # an MP4; the package torchcodec decodes it"""


def readers(columns: pa.Schema) -> str:
    """How Hugging Face datasets and DuckDB read a folder of Parquet files, in a card's section on loading.

    columns: of the files.
    """
    by_datasets = _AS_MP4 if holds_mp4(columns) else _AS_PICTURES
    return f"Run these in this folder.\n\n```python\n{by_datasets}\n```\n\n```sql\n{DUCKDB}\n```\n"


_BY_ARROW = """

```python
import pyarrow.dataset as ds

table = ds.dataset("data", format="parquet").to_table(columns=["prompt", "arm", "clip_score"])
```

"""
_BY_TORCH = """
```python
import torch
from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train").select_columns(["image", "prompt", "seed"])
loader = torch.utils.data.DataLoader(rows.with_format("torch"), batch_size=32)  # image: uint8 [N, C, H, W]
```
"""
