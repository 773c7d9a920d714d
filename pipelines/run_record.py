"""run.json: what a run is, so that it can be resumed by nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from pipelines import schema
from pipelines.config import RunConfig, fingerprint, identity
from pipelines.errors import UserError
from pipelines.plan import PlanCounts
from pipelines.storage import Storage

_FILE = "run.json"
_LIBRARIES = ("ray", "torch", "diffusers", "transformers", "open_clip_torch", "pyarrow", "numpy", "pillow")
_SHOWN = 8


def start(config: RunConfig, output: Storage) -> PlanCounts | None:
    """Claim the output folder for this config. Returns the counts of the plan where a run with it has one already.

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
    return PlanCounts(**record["plan"]) if record["plan"] else None


def planned(config: RunConfig, output: Storage, counts: PlanCounts) -> None:
    """Note that the plan is whole. Without this note a plan is written anew."""
    _write(output, {**_record(config), "plan": asdict(counts)})


def _record(config: RunConfig) -> dict[str, Any]:
    return {
        "schema_version": schema.VERSION,
        "fingerprint": fingerprint(config),
        "config": config.to_dict(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "plan": None,
    }


def _write(output: Storage, record: Mapping[str, Any]) -> None:
    output.write_bytes(_FILE, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def _differences(record: Mapping[str, Any], config: RunConfig) -> str:
    before, now = dict(_flat(identity(record["config"]))), dict(_flat(identity(config.to_dict())))
    before["schema_version"] = record["schema_version"]
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    shown = [f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in keys[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{at}.{key}" if at else key)
    else:
        yield at, value
