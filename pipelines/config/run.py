"""The settings of a run: a TOML file becomes one frozen `RunConfig`. Importable without torch or ray."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.errors import require
from models.interventions.registry import registered
from models.loading.dtype import resolved
from models.recommended import UNKNOWN, Recommended
from models.scorers import registry
from models.spec import PLACES, ModelSpec, Sampling
from pipelines.config import plugins, toml
from pipelines.config.arms import (
    Arm,
    Interventions,
    column_names,
    defaults,
    loras_of,
    read_arms,
    read_interventions,
    tables_of,
    take,
)
from pipelines.config.expressions import check_columns
from pipelines.config.quota import Quota
from pipelines.config.recommended import settings_of_table
from pipelines.config.scorers import PLACES as SCORER_PLACES
from pipelines.config.scorers import FurtherScorer, Scoring, declared_fields
from pipelines.config.tables import GroupSize, Output, RayOptions, Run, Selection
from pipelines.dataset import schema
from pipelines.dataset.score_columns import over_time
from pipelines.errors import UserError
from pipelines.prompts.carry import Carried
from pipelines.prompts.columns import NONE, PICTURES, SETTINGS
from pipelines.prompts.config import Prompts
from pipelines.prompts.expansion.config import PLACES as EXPAND_PLACES


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything about a run. One field is one table of the TOML file."""

    run: Run
    prompts: Prompts
    model: ModelSpec
    """`build` settles what "auto" stands for in its dtype, so that all rows of a run have the same."""
    scoring: Scoring
    scorers: tuple[FurtherScorer, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    group: GroupSize = field(default_factory=GroupSize)
    interventions: Interventions = field(default_factory=lambda: defaults(UNKNOWN))
    """In the file each has a table of its own name, such as [tora]."""
    arms: tuple[Arm, ...] = ()
    selection: Selection = field(default_factory=Selection)
    quota: Quota | None = None
    """None makes `group.groups_per_prompt` groups of every prompt in every arm."""
    output: Output = field(default_factory=Output)
    ray: RayOptions = field(default_factory=RayOptions)
    recommended: Recommended = field(default=UNKNOWN, compare=False)
    """What the settings of sampling and interventions were taken from where the file does not say them."""
    carried: tuple[Carried, ...] = field(default=(), compare=False)
    """What `prompts.carry` stands for in the prompt files; `pipelines.flows.preflight.check` finds it."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        require(bool(names) and len(set(names)) == len(names), "arms", names, "needs one arm or more, each name once")
        for arm in self.arms:
            loras_of(arm, self.model)
            _check_sampling(arm, self.sampling)
            rule = f"needs [quota], and at most group.size = {self.group.size}"
            good = not arm.group_size or (self.quota is not None and arm.group_size <= self.group.size)
            require(good, f"arms.{arm.name}.group_size", arm.group_size, rule)
        alone = self.ray.gpus_per_replica == 1
        require(alone or not self.model.compile, "model.compile", True, "needs ray.gpus_per_replica = 1")
        if not self.videos:
            rule = "needs sampling.frames above 1, also where rows have a number of their own: the run makes pictures"
            require(self.output.video_format == "webp", "output.video_format", self.output.video_format, rule)
            require(self.output.fps == 0, "output.fps", self.output.fps, rule)
        self._check_scorers()
        if self.quota:
            self._check_quota(self.quota)

    def _check_quota(self, quota: Quota) -> None:
        names = [arm.name for arm in self.arms]
        unknown = [name for name in quota.candidates if name not in names]
        rule = f"needs names of [[arms]] (there: {', '.join(names)})"
        require(not unknown, "quota.candidates", list(quota.candidates), rule)
        groups = self.group.groups_per_prompt
        require(groups == 1, "group.groups_per_prompt", groups, "[quota] decides how many groups a prompt gets")

    def _check_scorers(self) -> None:
        kind, rank_by = self.scoring.kind, self.selection.rank_by
        rule = "needs a kind with image vectors, for diversity and duplicates; others can be in [[scorers]]"
        require(registry.entry_of(kind).vectors, "scoring.kind", kind, rule)
        names = [scorer.name for scorer in self.scorers]
        known = ", ".join(names) or "none"
        require(rank_by in ("", *names), "selection.rank_by", rank_by, f"needs a name in [[scorers]] (there: {known})")
        columns = self.columns(1)
        twice = [name for name, count in Counter(columns.names).items() if count > 1]
        require(not twice, "scorers", names, f"they would give two columns of one name: {', '.join(twice)}")
        scores = [field.name for field in columns if field.type == pa.float32()]
        for limit in self.selection.limits:
            rule = f"needs a column of scores: {', '.join(scores)}"
            require(limit.column in scores, "selection.limits.column", limit.column, rule)
        read = {limit.column for limit in self.selection.limits}
        if accepted := self.selection.accepted:
            try:
                check_columns(accepted, [*scores, *(name for name in columns.names if name.endswith("rank_in_group"))])
            except ValueError as error:
                raise ValueError(f"selection.accept: {error}") from None
            read |= accepted.columns
        of_frames = sorted(read.intersection(field.name for one in ("", *names) for field in over_time(one)))
        rule = f"needs 2 or more: [selection] reads {', '.join(of_frames)}, which nothing has where one frame is scored"
        require(not of_frames or self.scoring.frames > 1, "scoring.frames", self.scoring.frames, rule)

    @property
    def videos(self) -> bool:
        """Whether the run makes videos, whose rows have columns of their own."""
        return self.sampling.frames > 1

    @property
    def generated(self) -> pa.Schema:
        """The columns of an image before it is scored."""
        videos = self.output.video_format if self.videos else None
        return schema.generated(column_names(self.arms), self.more_fields, videos=videos)

    @property
    def more_fields(self) -> list[pa.Field[Any]]:
        """The columns of groups that not every run has: those of pictures, and those that are carried."""
        carried = [schema.carried_field(one.name, one.kind, one.source) for one in self.carried]
        return [*(schema.PICTURE_FIELDS if self.prompts.columns.pictured else []), *carried]

    @property
    def arm_samplings(self) -> list[Sampling]:
        """The sampling of each arm, for rows without settings of their own."""
        return [arm.sampling.of(self.sampling) for arm in self.arms]

    @property
    def guided(self) -> bool:
        """Whether an arm has guidance, which takes two passes of the transformer for a step."""
        return any(one.guidance_scale > 1.0 for one in self.arm_samplings)

    @property
    def group_sizes(self) -> list[int]:
        """Images of a group of each arm."""
        return [arm.group_size or self.group.size for arm in self.arms]

    def columns(self, embedding_dim: int) -> pa.Schema:
        """The columns of `data/` and `rejected/`; embedding_dim: length of the scorer's vectors."""
        images = self.generated
        return schema.scored(embedding_dim, declared_fields(self.scoring, self.scorers, images), images)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json; -inf, which JSON lacks, as text."""
        tables: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            if name == "interventions":
                tables |= tables_of(self.interventions, self.arms)
            elif name not in ("arms", "recommended", "carried"):
                value = getattr(self, name)
                many = isinstance(value, tuple)
                tables[name] = [asdict(table) for table in value] if many else value and asdict(value)
        return {name: _plain(table) for name, table in tables.items()}


def _check_sampling(arm: Arm, sampling: Sampling) -> None:
    try:
        arm.sampling.of(sampling)
    except ValueError as error:
        raise ValueError(f"arms.{arm.name}.sampling: {error}") from None


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in the TOML file `path`, with `key.sub=value` overrides (values in TOML; bare words are text)."""
    table = toml.read(path)
    for text in overrides:
        toml.override(table, text)
    return build(table, file=str(path))


def build(table: Mapping[str, Any], *, file: str) -> RunConfig:
    """The config of a TOML table. Its plugins are imported: what they register may be named in it."""
    _load_plugins(table.get("run"), file)
    known = settings_of_table(table.get("model")).recommended
    rest, tables = take(table)
    if isinstance(own := rest.get("sampling", {}), Mapping):
        rest["sampling"] = {**known.sampling, **own}
    interventions = read_interventions(tables, known, file=file)
    arms = read_arms(rest.pop("arms", None), interventions, file=file)
    given = {"interventions": interventions, "arms": arms, "recommended": known, "carried": ()}
    config = toml.build(RunConfig, rest, file=file, given=given, hints=[*interventions, "arms"])
    return replace(config, model=resolved(config.model, gpus=config.ray.on_gpus))


def _load_plugins(run: Any, file: str) -> None:
    named = run.get("plugins", []) if isinstance(run, Mapping) else []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise toml.wrong(file, "run.plugins", named, "an array of module names")
    plugins.load(named)
    taken = {f.name for f in fields(RunConfig)} | {f.name for f in fields(Arm)}
    taken |= {*schema.plan([]).names, *schema.scored(1, images=schema.generated([])).names}
    if clash := sorted(taken.intersection(entry.name for entry in registered())):
        raise UserError(
            f"run.plugins: the intervention {clash[0]!r} has the name of a table of the config, or of a column; "
            "register it under another one"
        )


def fingerprint(config: RunConfig) -> str:
    """64 hex digits over the row schema's version and all settings that change rows (not places, names or workers)."""
    return fingerprint_of(config.to_dict())


def fingerprint_of(config: Mapping[str, Any]) -> str:
    """The fingerprint of the config that is as `RunConfig.to_dict()` gives it."""
    text = json.dumps(identity(config), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `RunConfig.to_dict()` that the fingerprint covers. A damaged config has an identity of its own."""
    covered = _without(without_later_defaults(config), _NOT_IDENTITY)
    if isinstance(sampling := covered.get("sampling"), Mapping) and not _pictured(config):
        covered["sampling"] = {name: value for name, value in sampling.items() if name != "denoising_strength"}
    if isinstance(run := covered.get("run"), Mapping):
        covered["run"] = {"seed": run.get("seed")}
    return {"schema_version": schema.VERSION, **covered}


def _pictured(config: Mapping[str, Any]) -> bool:
    prompts = config.get("prompts")
    columns = prompts.get("columns") if isinstance(prompts, Mapping) else None
    return isinstance(columns, Mapping) and columns.get("source_image", "") not in ("", NONE)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `RunConfig.to_dict()` that says what is made, and not on which machines and where they have it."""
    return _without(config, _PLACES)


def _without(config: Mapping[str, Any], left_out: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """A config without [ray], and without some settings of its tables."""

    def part(name: str, table: Any) -> Any:
        if isinstance(table, list):
            return [part(name, item) for item in table]
        if not isinstance(table, Mapping):
            return table
        return {key: part(f"{name}.{key}", value) for key, value in table.items() if key not in left_out.get(name, ())}

    return {name: part(name, table) for name, table in config.items() if name != "ray"}


_PLACES = {
    "run": ("output",),
    "prompts": ("path", "picture_folders"),
    "prompts.expand": EXPAND_PLACES,
    "model": PLACES,
    "scorers.options": SCORER_PLACES,
}
"""Table -> its settings that `without_places` leaves out."""

_NOT_IDENTITY = {
    "model": PLACES,
    # What may grow: the plan checks that nothing of it goes away, and group ids and seeds name each addition.
    "prompts": ("path", "format", "limit", "template", "picture_folders"),
    "prompts.expand": EXPAND_PLACES,
    "scorers.options": SCORER_PLACES,
    "group": ("groups_per_prompt",),
    "quota": ("accepted", "most_groups"),
}
"""Table -> its settings that the fingerprint leaves out; of [run] it has the seed alone."""

_ADDED_LATER: dict[str, Any] = {
    "prompts.encoding": "auto",
    "prompts.expand": None,
    "scorers": [],
    "quota": None,
    "scoring.kind": "open_clip",
    "scoring.options": {},
    "scoring.frames": 8,
    "selection.rank_by": "",
    "selection.limits": [],
    "selection.accept": "",
    "tora.encoders": "together",
    "tora.refresh_steps": 1,
    "output.video_format": "webp",
    "output.fps": 0,
    "prompts.carry": [],
    "tora.lag_steps": 0,
    "repulsion.vary_words": "",
    "repulsion.keep_words": "",
    "sampling.sigmas": [],
    "model.variant": "",
    "model.drop": [],
    "model.scheduler": "",
    "model.shift": 0.0,
    "model.loras": [],
    "model.quantize": [],
    "model.transformer_file": "",
    "model.transformer_file_revision": "",
    **{f"columns.{name}": "" for name in (*SETTINGS, *PICTURES)},
}
"""Settings that did not exist at first -> the value that stands for how it was without them. "table", or "table.key",
which of an array of tables is that key of each, and of an arm's own settings of an intervention that of its table."""


def without_later_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of plain values without the settings of `_ADDED_LATER` that change nothing: fingerprints, ids of groups
    and records of scores that were made before there were these settings are equal to those made since."""

    def known(name: str, value: Any) -> bool:
        return name not in _ADDED_LATER or value != _ADDED_LATER[name]

    def old(table: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: old(key, item) for key, item in value.items() if known(f"{table}.{key}", item)}
        return [old(table, item) for item in value] if isinstance(value, list) else value

    return {name: old(name, value) for name, value in config.items() if known(name, value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
