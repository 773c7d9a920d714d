"""Claims an output folder for a run, so that only the same run can be resumed in it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

from pipelines.config.fingerprint import fingerprint, fingerprint_of, identity
from pipelines.config.run import RunConfig
from pipelines.dataset import parquet, progress_json, retry, run_json, schema
from pipelines.dataset.names import IMAGE_FOLDERS, SHARD_FOLDERS, shard_of
from pipelines.dataset.records import differences
from pipelines.dataset.run_json import FILE, PlanCounts, PlanInputs, RunRecord
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts import reading as prompt_reading

_LIBRARIES = ("ray", "torch", "diffusers", "transformers", "open_clip_torch", "pyarrow", "numpy", "pillow")


def claim(config: RunConfig, inputs: PlanInputs, output: Storage) -> RunRecord:
    """Claim an output folder for a config, and return the record of the run, with its plan where it has one already.

    As long as the folder has no image, it belongs to nobody: a first try with a wrong setting leaves nothing in the way
    of the next one.

    config: the run.
    inputs: what its plan is made from.
    output: the output folder.

    Raises:
        UserError: when the folder holds the images of a run with another fingerprint or row contract, or cannot be
            written.
    """
    record = run_json.read(output) if output.exists(FILE) else None
    wanted = _record(config)
    if record is None:
        run_json.write(output, wanted)
        return wanted
    same = record.fingerprint == wanted.fingerprint
    if not (same and record.plan_made_from == inputs) and not _has_images(output):
        run_json.write(output, wanted)
        _clear(output)
        return wanted
    if record.schema_version != schema.VERSION:
        raise UserError(
            f"{output.path(FILE)} belongs to a run with version {record.schema_version} of the row contract, and this "
            f"release writes rows with other columns, those of version {schema.VERSION}: one dataset cannot have both. "
            "Go on with the release that began it, or choose another run.output. (A finished run can be exported, "
            "scored and replayed.)"
        )
    if not same:
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


def _has_images(output: Storage) -> bool:
    """Whether any shard has an image; where all groups of a shard failed, its file in data/ has no rows."""
    return any(
        parquet.rows_of(output, f"{folder}/{name}")
        for folder in IMAGE_FOLDERS
        for name in output.list(folder)
        if shard_of(name) is not None
    )


def _clear(output: Storage) -> None:
    """Remove what a try without images has left; the next plan replaces its plan."""
    for folder in (*SHARD_FOLDERS, retry.FOLDER):
        for name in output.list(folder):
            if shard_of(name) is not None:
                output.remove(f"{folder}/{name}")
    output.remove(progress_json.FILE)


def plan_inputs(config: RunConfig) -> PlanInputs:
    """The inputs of a plan that the fingerprint does not cover.

    Raises:
        UserError: when a prompt file cannot be read.
    """
    return PlanInputs(
        prompt_files=prompt_reading.digests(config.prompts),
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


def libraries(*, mp4: bool) -> dict[str, str]:
    """Versions of the libraries on which images depend.

    mp4: whether they are videos in MP4.
    """
    return {name: version(name) for name in (*_LIBRARIES, *(["av"] if mp4 else []))}


def _record(config: RunConfig) -> RunRecord:
    return RunRecord(
        schema_version=schema.VERSION,
        fingerprint=fingerprint(config),
        config=config.to_dict(),
        libraries=libraries(mp4=config.output.video_format == "mp4"),
        plan=None,
        plan_made_from=None,
    )


def _differences(record: RunRecord, config: RunConfig) -> str:
    return differences(identity(record.config), identity(config.to_dict()))
