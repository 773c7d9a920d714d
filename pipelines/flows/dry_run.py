"""What a run would be, for --dry-run: groups, images, shards, and rough bytes and time."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from models.interventions.registry import entry_of
from models.recommended import Recommended
from models.spec import Sampling
from pipelines.config.arms import said
from pipelines.config.quota import Quota
from pipelines.config.run import RunConfig
from pipelines.config.write_toml import inline
from pipelines.dataset import owned, run_json
from pipelines.dataset.run_json import PlanCounts
from pipelines.dataset.storage import Storage
from pipelines.flows import memory, preflight
from pipelines.flows.warnings import of_rows
from pipelines.plan.shard_size import bytes_per_raw_byte
from pipelines.plan.survey import Survey, work
from pipelines.plan.write import Tally, count_plan
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.expansion.ask import unanswered
from pipelines.prompts.rows import PromptRow
from pipelines.prompts.templates.rows import templates
from pipelines.quota import census
from pipelines.quota.expected import expected

_CPU_FLOPS, _GPU_FLOPS = 4e10, 2e14
"""Arithmetic a generator achieves per second, on one CPU core and on one large GPU in bfloat16."""
_TEXT_TOKENS = 154


def describe(config: RunConfig) -> str:
    """The plan in words. Reads and checks all prompts; starts no model and writes nothing."""
    output = Storage.open(config.run.output)
    owned.check(output, run_json.FILE, setting="run.output")
    config = preflight.check(config)
    survey = Survey(config)
    counts = count_plan(config, survey)
    for line in of_rows(config, survey):
        print(line, file=sys.stderr)
    made = _quotas(config, config.quota, output, survey) if config.quota else _groups(config, counts, output, survey)
    rows = [
        ("prompts", f"{counts.prompts:,} ({counts.bad_prompts:,} unusable, {counts.dropped:,} repeats dropped)"),
        *(("unusable", reason) for reason in survey.reasons),
        *(("template", str(filled)) for filled in templates(config.prompts)),
        *_asked(config, output, survey),
        ("arms", ", ".join(arm.name for arm in config.arms)),
        *made,
        ("memory", memory.describe(replace(config, sampling=survey.largest))),
    ]
    lines = [f"{name:<9}{text}" for name, text in rows]
    return "\n".join([*lines, "", *settings(config)])


def _groups(config: RunConfig, counts: PlanCounts, output: Storage, survey: Survey) -> Iterator[tuple[str, str]]:
    yield "groups", f"{counts.groups:,} of {config.group.size} images"
    yield "images", f"{counts.images:,} of {_sizes(config.sampling, survey.largest)}"
    yield "shards", f"{counts.shards:,}"
    yield "output", f"{output.uri}, about {_bytes(survey.raw_bytes * bytes_per_raw_byte(config))}"
    yield "time", _time(config, survey.work)


def _quotas(config: RunConfig, quota: Quota, output: Storage, survey: Survey) -> Iterator[tuple[str, str]]:
    """What a run with quotas may be, by the share of its images that are accepted."""
    prompts = Tally(Survey(config)).good_prompts(config)
    quotas = len(census.take(config, quota, prompts, survey.variants).names)
    yield "quotas", f"{quotas:,} of {quota.accepted:,} accepted images, in groups of {_sizes_of_groups(config)}"
    yield "output", output.uri
    for rate, images, words in expected(quota, quotas, config.group.size, output):
        size, work_done = (images * total / survey.images for total in (survey.raw_bytes, survey.work))
        room = _bytes(size * bytes_per_raw_byte(config))
        made = f"{images:,} images of {_sizes(config.sampling, survey.largest)}, {room}"
        yield f"{rate:.0%}", f"accepted{words}: {made}; {_time(config, work_done)}"


def _sizes_of_groups(config: RunConfig) -> str:
    """The sizes that arms have, such as "4 or 8"."""
    return " or ".join(map(str, sorted({*config.group_sizes})))


def _asked(config: RunConfig, output: Storage, survey: Survey) -> Iterator[tuple[str, str]]:
    if expand := config.prompts.expand:
        rows = prompt_reading.read(config.prompts, rules=survey.variants)
        requests = unanswered((row.prompt for row in rows if isinstance(row, PromptRow)), expand, output)
        yield "expand", f"{requests:,} requests to {expand.model} at {expand.base_url}, for {expand.count} prompts each"


def settings(config: RunConfig) -> Iterator[str]:
    """Every setting of sampling and of the arms' interventions, and the arms' LoRAs, a line each, and where it comes
    from."""
    named = Sampling.names(pictures=config.prompts.columns.pictured)
    yield from _lines("sampling", "sampling", config.sampling, config.recommended, named)
    for arm in config.arms:
        if arm.loras is not None:
            yield f"{arm.name}: loras = {inline(said(arm.loras))} (the arm)"
        yield from (f"{arm.name}: sampling.{key} = {value!r} (the arm)" for key, value in arm.sampling.given().items())
        for acting in arm.interventions:
            name = entry_of(acting).name
            settings = [field.name for field in fields(acting)]
            yield from _lines(f"{arm.name}: {name}", name, acting, config.recommended, settings)


def _lines(at: str, table: str, chosen: Any, recommended: Recommended, names: Collection[str]) -> Iterator[str]:
    known = recommended.sampling if table == "sampling" else recommended.interventions.get(table, {})
    for one in (field for field in fields(chosen) if field.name in names):
        value = getattr(chosen, one.name)
        if _plain(value) != _plain(known.get(one.name, one.default)):
            origin = "the config"
        else:
            origin = recommended.source_of(table, one.name) if one.name in known else "the default"
        yield f"{at}.{one.name} = {value!r} ({origin})"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def flops_per_image(config: RunConfig) -> float | None:
    """Floating-point operations of the transformer for one image: 2 per parameter and token, in every forward pass."""
    folder = Path(config.model.path)
    parameters = memory.parameters(folder / "transformer", config.model.variant)
    if not parameters:
        return None
    levels, patch = (
        memory.setting(folder, "vae", "block_out_channels"),
        memory.setting(folder, "transformer", "patch_size"),
    )
    if not isinstance(levels, list):  # autoencoders of videos, and of some images, say it otherwise
        return None
    pixels_per_token = (patch if isinstance(patch, int) and patch > 0 else 1) * 2 ** (len(levels) - 1)
    frames = memory.latent_frames(config)
    tokens: float = frames * config.sampling.width * config.sampling.height / pixels_per_token**2 + _TEXT_TOKENS
    passes = 2 if config.sampling.guidance_scale > 1 else 1
    return float(2 * parameters * tokens * passes * config.sampling.steps)


def _sizes(run: Sampling, largest: Sampling) -> str:
    return _size(run) if _size(largest) == _size(run) else f"{_size(run)}, the largest of {_size(largest)}"


def _size(sampling: Sampling) -> str:
    frames = f" x {sampling.frames} frames" if sampling.frames > 1 else ""
    return f"{sampling.width} x {sampling.height}{frames}"


def _time(config: RunConfig, amount_of_work: float) -> str:
    """How long it takes; amount_of_work: as of `pipelines.plan.survey.work`, of all images."""
    flops = flops_per_image(config)
    if flops is None:
        return "unknown: no local files say how large the model is"
    flops *= amount_of_work / work(config.sampling)
    where = config.ray
    speed = where.gpus_per_generator * _GPU_FLOPS or where.generator_threads * where.gpus_per_replica * _CPU_FLOPS
    seconds = flops / (speed * where.generators)
    amount = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.1f} minutes"
    kind = "GPU" if where.gpus_per_generator else "CPU"
    return f"about {amount} on {where.generators} {kind} generators, to a factor of 3; loading the model comes on top"


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
