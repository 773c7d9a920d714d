"""The tables of a run's TOML file, each a frozen class. Importable without torch or ray."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.errors import require
from models.parallel.division import Ranks
from models.spec import Parallelism
from pipelines.config.acceptance import Rule, not_below, within
from pipelines.config.expressions import Expression, expression

MARGIN = "margin"
"""Value of the column `drop_reason` for a margin below `Selection.min_margin`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run as a whole."""

    output: str
    """Folder of the results: a local path or s3://bucket/folder. Not part of the fingerprint."""
    name: str = "raydiance"
    """Title of the dataset card and the gallery. Not part of the fingerprint."""
    seed: int = 0
    """Every image seed is derived from it; 0 to 2**63 - 1."""
    plugins: tuple[str, ...] = ()
    """Python modules that are imported before anything else, on the driver and by every worker: they register your own
    interventions and scorers. Not part of the fingerprint."""

    def __post_init__(self) -> None:
        require(bool(self.output), "output", self.output, "needs a local path or s3://bucket/folder")
        require(0 <= self.seed < 2**63, "seed", self.seed, "needs 0 to 2**63 - 1")


@dataclass(frozen=True, kw_only=True)
class GroupSize:
    """How many images and groups there are of each prompt, and how many are denoised together."""

    size: int = 4
    """Images per group: made together, and pushed apart by repulsion."""
    groups_per_prompt: int = 1
    """Groups of each prompt in each arm, with different seeds. A higher number extends a run."""
    groups_per_batch: int = 1
    """Groups that are denoised together. Another batch shape can change the last bits of the pixels."""

    def __post_init__(self) -> None:
        require(1 <= self.size <= 256, "size", self.size, "needs 1 to 256 images")
        require(1 <= self.groups_per_prompt <= 10_000, "groups_per_prompt", self.groups_per_prompt, "needs 1 to 10,000")
        require(1 <= self.groups_per_batch <= 10_000, "groups_per_batch", self.groups_per_batch, "needs 1 to 10,000")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Drops images by a column of scores; those without a value are kept."""

    column: str
    """Name of the column, such as `clip_score`, or one of a scorer in [[scorers]]."""
    above: float = math.inf
    """Values above it are dropped."""
    below: float = -math.inf
    """Values below it are dropped."""

    def __post_init__(self) -> None:
        require(not math.isnan(self.below), "below", self.below, "needs a number")
        require(self.below <= self.above, "above", self.above, f"needs at least below = {self.below}")
        bounded = math.isfinite(self.above) or math.isfinite(self.below)
        require(bounded, "column", self.column, "needs a number for above or for below")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which images are kept in data/; the others go to rejected/ with the reason."""

    keep_per_group: int = 0
    """How many of the best images of a group are kept; 0 keeps all."""
    min_margin: float = -math.inf
    """Lowest `clip_margin` that is kept, for images that have one; -inf keeps all."""
    duplicate_similarity: float = 1.0
    """Images of a group at least this similar (cosine of embeddings) are duplicates; 1 means equal pixels only."""
    rank_by: str = ""
    """Name of the scorer in [[scorers]] that ranks the images of a group; "" is the one in [scoring]."""
    limits: tuple[Limit, ...] = ()
    """Absolute limits, for what must not be there at all; the reason is the name of the column."""
    accept: str = ""
    """What an image has to meet: an expression over the columns of scores, such as
    "clip_margin > 0.02 and rank_in_group <= 2"; "" accepts all. The reason is the comparison that is false."""

    def __post_init__(self) -> None:
        require(self.keep_per_group >= 0, "keep_per_group", self.keep_per_group, "needs 0 (all) or more")
        require(not math.isnan(self.min_margin), "min_margin", self.min_margin, "needs a number")
        try:
            accepted = self.accepted
        except ValueError as error:
            raise ValueError(f"accept: {error}") from None
        require(accepted is None or accepted.kind == "condition", "accept", self.accept, "needs a comparison")
        name = "duplicate_similarity"
        require(0.0 < self.duplicate_similarity <= 1.0, name, self.duplicate_similarity, "needs more than 0, at most 1")

    @property
    def accepted(self) -> Expression | None:
        """What an image has to meet; None for nothing."""
        return expression(self.accept) if self.accept.strip() else None

    @property
    def rules(self) -> list[Rule]:
        """What drops images, in order: `min_margin`, the limits, and each condition that `accept` joins by `and`."""
        margin = float(np.float32(self.min_margin))  # margins are of this precision: an equal one is kept
        parts = self.accepted.parts() if self.accepted else []
        return [
            Rule(reason=MARGIN, condition=not_below("clip_margin", margin)),
            *(Rule(reason=one.column, condition=within(one.column, one.below, one.above)) for one in self.limits),
            *(Rule(reason=part.text, condition=part) for part in parts),
        ]


@dataclass(frozen=True, kw_only=True)
class Output:
    """The files of a run."""

    image_format: Literal["png", "webp"] = "png"
    """Both are lossless; webp is smaller and slower to write."""
    video_format: Literal["webp", "mp4"] = "webp"
    """Files of videos: a lossless animated WebP, or H.264 in an MP4, which is some 20 times smaller, loses what nobody
    sees and needs the package av."""
    fps: int = 0
    """Frames per second at which videos play, 1 to 120; 0 is the family's. It does not change their frames."""
    groups_per_shard: int = 0
    """Groups in one output file: the unit of commit, of resume and of a worker's memory. 0 derives it from
    `shard_mb`."""
    shard_mb: int = 256
    """Rough size of an output file in MiB, up to 64 groups."""

    def __post_init__(self) -> None:
        require(0 <= self.groups_per_shard <= 100_000, "groups_per_shard", self.groups_per_shard, "needs 0 to 100,000")
        require(1 <= self.shard_mb <= 2048, "shard_mb", self.shard_mb, "needs 1 to 2048 MiB")
        require(0 <= self.fps <= 120, "fps", self.fps, "needs 1 to 120, or 0 for the family's")


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Where the job runs, and with how many workers. No setting changes which rows a run has."""

    address: str = ""
    """A Ray cluster to join; "" takes RAY_ADDRESS, and without that the job starts Ray on this machine."""
    generators: int = 1
    """Generator actors, each with its own copy of the model."""
    min_generators: int = 0
    """Generators at the start; the pool grows up to `generators` with the cluster. 0 waits for all of them."""
    scorers: int = 1
    """Scorer actors."""
    writers: int = 1
    """Writer actors."""
    gpus_per_generator: float = 0.0
    """GPUs that Ray reserves for each generator."""
    gpus_per_scorer: float = 0.0
    """GPUs that Ray reserves for each scorer, a fraction if need be."""
    gpus_per_replica: int = 1
    """GPUs that work on the same batches, each in its own process with the whole model (without GPUs, processes on
    CPUs). Above 1, `gpus_per_generator` is the same number, or 0 for CPUs."""
    parallelism: Parallelism = "auto"
    """What the processes of a replica divide: the images of a "group", the branches of guidance ("cfg"), the tokens
    ("context"); "auto" takes what moves the fewest bytes. It can change the last bits of the pixels."""
    rank_timeout_s: float = 600.0
    """Seconds without a denoising step after which the processes of a replica count as hung, and are restarted."""
    cpus_per_generator: float = 1.0
    """CPUs that Ray reserves for each generator; not a limit."""
    cpus_per_scorer: float = 0.5
    """CPUs that Ray reserves for each scorer; not a limit."""
    cpus_per_writer: float = 0.25
    """CPUs that Ray reserves for each writer; not a limit."""
    check_fit: bool = True
    """Whether to stop at the start where the workers do not fit the cluster. Turn it off for one that grows on
    demand."""
    threads_per_generator: int = 0
    """CPU threads of torch in a generator, over all its processes; 0 takes `cpus_per_generator`. Where the model runs
    on a CPU, another number can change the last bits of the pixels."""
    object_store_mb: int = 256
    """Size of the object store in MiB, where the job starts Ray itself; 80 or more."""

    def __post_init__(self) -> None:
        for name in ("generators", "scorers", "writers"):
            require(1 <= getattr(self, name) <= 100_000, name, getattr(self, name), "needs 1 or more")
        name = "min_generators"
        require(0 <= self.min_generators <= self.generators, name, self.min_generators, "needs 0 to ray.generators")
        for name in ("gpus_per_generator", "gpus_per_scorer"):
            require(0 <= getattr(self, name) <= 64, name, getattr(self, name), "needs 0 to 64")
        for name in ("cpus_per_generator", "cpus_per_scorer", "cpus_per_writer"):
            require(0 <= getattr(self, name) <= 1024, name, getattr(self, name), "needs 0 to 1024")
        require(
            0 <= self.threads_per_generator <= 1024, "threads_per_generator", self.threads_per_generator, "needs 0+"
        )
        require(1 <= self.gpus_per_replica <= 64, "gpus_per_replica", self.gpus_per_replica, "needs 1 to 64")
        require(
            self.gpus_per_replica == 1 or self.gpus_per_generator in (0, self.gpus_per_replica),
            "gpus_per_generator",
            self.gpus_per_generator,
            f"needs 0 (CPUs) or gpus_per_replica = {self.gpus_per_replica}",
        )
        require(
            self.parallelism != "cfg" or self.gpus_per_replica % 2 == 0,
            "gpus_per_replica",
            self.gpus_per_replica,
            "parallelism 'cfg' divides two branches: needs an even number",
        )
        require(self.rank_timeout_s > 0, "rank_timeout_s", self.rank_timeout_s, "needs more than 0 seconds")
        require(self.object_store_mb >= 80, "object_store_mb", self.object_store_mb, "needs 80 MiB or more")

    @property
    def on_gpus(self) -> bool:
        """Whether generators have GPUs: Ray hides those that it does not reserve."""
        return self.gpus_per_generator > 0

    @property
    def generator_threads(self) -> int:
        """CPU threads of each process of a generator."""
        return max(1, (self.threads_per_generator or int(self.cpus_per_generator)) // self.gpus_per_replica)

    def ranks(self, group: GroupSize, guided: bool, plugins: tuple[str, ...] = ()) -> Ranks:
        """The processes of each generator.

        group: the table [group].
        guided: whether there is guidance, in the sampling of the run or of an arm.
        plugins: of the run.
        """
        return Ranks(
            count=self.gpus_per_replica,
            parallelism=self.parallelism,
            images=group.size * group.groups_per_batch,
            guided=guided,
            threads=self.generator_threads,
            timeout_s=self.rank_timeout_s,
            plugins=plugins,
        )
