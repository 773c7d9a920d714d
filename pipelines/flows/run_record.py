"""run.json: what a run is, so that it can be resumed by nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from pipelines.config.run import RunConfig, fingerprint, identity
from pipelines.dataset import schema
from pipelines.dataset.records import differences
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.plan.counts import PlanCounts, Segment
from pipelines.prompts import rows as prompt_rows

_FILE = "run.json"
_LIBRARIES = ("ray", "torch", "diffusers", "transformers", "open_clip_torch", "pyarrow", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a folder's plan was made from and what it holds."""

    counts: PlanCounts
    made_from: dict[str, Any]


def claim(config: RunConfig, output: Storage) -> Planned | None:
    """Claim the output folder for this config. Returns the plan of the run where it has one already.

    Raises UserError where the folder holds a run with another fingerprint, or cannot be written.
    """
    if not output.exists(_FILE):
        _write(output, _record(config))
        return None
    record = json.loads(output.read_bytes(_FILE))
    if record["fingerprint"] != fingerprint(config):
        raise UserError(
            f"{output.path(_FILE)} belongs to a run with other settings: {_differences(record, config)}. "
            "Choose another run.output, or set these back to resume that run."
        )
    _write(output, record)  # the same bytes: shows now, not after hours, whether the folder can be written
    if record["plan"] is None:
        return None
    segments = tuple(Segment(**segment) for segment in record["plan"]["segments"])
    return Planned(counts=PlanCounts(**{**record["plan"], "segments": segments}), made_from=record["plan_made_from"])


def made_from(config: RunConfig) -> dict[str, Any]:
    """What decides which prompts and groups a plan holds: the contents of the prompt files, and three settings."""
    return {
        "prompt_files": prompt_rows.digests(config.prompts),
        "prompts.format": config.prompts.format,
        "prompts.limit": config.prompts.limit,
        "group.groups_per_prompt": config.group.groups_per_prompt,
    }


def planned(config: RunConfig, output: Storage, plan: Planned) -> None:
    """Note that the plan is whole. Without this note a plan is written anew."""
    _write(output, {**_record(config), "plan": asdict(plan.counts), "plan_made_from": plan.made_from})


def libraries() -> dict[str, str]:
    """Versions of the libraries that decide what a run makes."""
    return {name: version(name) for name in _LIBRARIES}


def _record(config: RunConfig) -> dict[str, Any]:
    return {
        "schema_version": schema.VERSION,
        "fingerprint": fingerprint(config),
        "config": config.to_dict(),
        "libraries": libraries(),
        "plan": None,
        "plan_made_from": None,
    }


def _write(output: Storage, record: Mapping[str, Any]) -> None:
    output.write_bytes(_FILE, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def _differences(record: Mapping[str, Any], config: RunConfig) -> str:
    before = {**identity(record["config"]), "schema_version": record["schema_version"]}
    return differences(before, identity(config.to_dict()))
