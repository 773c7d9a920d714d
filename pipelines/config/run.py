"""The settings of a run: the tables of its TOML file, and what they must be together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pyarrow as pa

from models.errors import require
from models.recommended import UNKNOWN, Recommended
from models.scorers import registry
from models.spec import ModelSpec, Sampling
from pipelines.config.arm_sampling import check_sampling
from pipelines.config.arms import (
    Arm,
    Interventions,
    column_names,
    defaults,
    loras_of,
    tables_of,
)
from pipelines.config.expressions import check_columns
from pipelines.config.quota import Quota
from pipelines.config.scorers import FurtherScorer, Scoring, declared_fields
from pipelines.config.tables import GroupSize, Output, RayOptions, Run, Selection
from pipelines.dataset import schema
from pipelines.dataset.prompt_columns import PICTURE_FIELDS, carried_field
from pipelines.dataset.score_columns import over_time
from pipelines.prompts.carry import Carried
from pipelines.prompts.config import Prompts


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
            check_sampling(arm.name, arm.sampling, self.sampling)
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
        carried = [carried_field(one.name, one.kind, one.source) for one in self.carried]
        return [*(PICTURE_FIELDS if self.prompts.columns.pictured else []), *carried]

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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
