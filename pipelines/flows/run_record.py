"""Claims an output folder for a run, so that only the same run can be resumed in it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

from pipelines.config.run import RunConfig, fingerprint, fingerprint_of, identity
from pipelines.dataset import run_json, schema
from pipelines.dataset.records import differences
from pipelines.dataset.run_json import FILE, PlanCounts, PlanInputs, RunRecord
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts import rows as prompt_rows

_LIBRARIES = ("ray", "torch", "diffusers", "transformers", "open_clip_torch", "pyarrow", "numpy", "pillow")


def claim(config: RunConfig, output: Storage) -> RunRecord:
    """Claim an output folder for a config, and return the record of the run, with its plan where it has one already.

    config: the run.
    output: the output folder.

    Raises:
        UserError: when the folder holds a run with another fingerprint, or cannot be written.
    """
    if not output.exists(FILE):
        record = _record(config)
        run_json.write(output, record)
        return record
    record = run_json.read(output)
    if record.fingerprint != fingerprint(config):
        raise UserError(
            f"{output.path(FILE)} belongs to a run with other settings: {_differences(record, config)}. "
            "Choose another run.output, or set these back to resume that run."
        )
    if record.fingerprint != fingerprint_of(record.config):
        raise UserError(
            f"{output.path(FILE)} is damaged: its config has another fingerprint: {_differences(record, config)}. "
            "Put the file back as it was, or choose another run.output."
        )
    output.write_bytes(FILE, output.read_bytes(FILE))  # fail fast where the folder cannot be written
    return record


def plan_inputs(config: RunConfig) -> PlanInputs:
    """The inputs of a plan that the fingerprint does not cover.

    Raises:
        UserError: when a prompt file cannot be read.
    """
    return PlanInputs(
        prompt_files=prompt_rows.digests(config.prompts),
        format=config.prompts.format,
        limit=config.prompts.limit,
        groups_per_prompt=config.group.groups_per_prompt,
    )


def planned(config: RunConfig, output: Storage, counts: PlanCounts, made_from: PlanInputs) -> None:
    """Record that the plan is complete; a plan without this record is written again.

    config: the run.
    output: the output folder.
    counts: of the plan.
    made_from: inputs of the plan.
    """
    run_json.write(output, replace(_record(config), plan=counts, plan_made_from=made_from))


def libraries() -> dict[str, str]:
    """Versions of the libraries on which images depend."""
    return {name: version(name) for name in _LIBRARIES}


def _record(config: RunConfig) -> RunRecord:
    return RunRecord(
        schema_version=schema.VERSION,
        fingerprint=fingerprint(config),
        config=config.to_dict(),
        libraries=libraries(),
        plan=None,
        plan_made_from=None,
    )


def _differences(record: RunRecord, config: RunConfig) -> str:
    before = {**identity(record.config), "schema_version": record.schema_version}
    return differences(before, identity(config.to_dict()))
