"""What the settings of an endpoint mean for its model, and for a request that does not say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models import embedded
from models.loading.dtype import resolved, slowness
from models.parallel.division import Ranks
from models.spec import ModelSpec, Sampling
from pipelines.config import plugins
from pipelines.config.arms import Interventions
from pipelines.config.load import load
from pipelines.config.model_path import check_model
from pipelines.config.recommended import settings_of
from pipelines.config.scorers import Scoring, check, open_clip_table
from pipelines.dataset import mp4
from pipelines.errors import UserError
from pipelines.serve.settings import ServeArgs

EMBEDDED = "raydiance-embedded"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A model as it is served."""

    name: str
    model: ModelSpec
    scoring: Scoring | None
    sampling: Sampling
    interventions: Interventions
    """What a request gets that switches one on without settings of its own."""
    fps: int = 0
    """Frames per second of videos; 0 takes the model's."""
    sizes: tuple[str, ...]
    """Allowed sizes, "WIDTHxHEIGHT", the default first."""
    images_per_group: int = 1
    """What a batch is divided for where several GPUs share it: the size of the config's groups, or a request's default
    of one image. Groups of any other size can be asked for too."""
    warnings: tuple[str, ...] = ()
    """What a person should know of settings that are not wrong."""
    plugins: tuple[str, ...] = ()
    """`run.plugins` of the config."""

    @property
    def makes_videos(self) -> bool:
        return self.sampling.frames > 1

    def ranks(self, args: ServeArgs) -> Ranks:
        """The processes of each copy."""
        return Ranks(
            count=max(1, int(args.gpus_per_replica)),
            parallelism=args.parallelism,
            images=args.groups_per_batch * self.images_per_group,
            guided=self.sampling.guidance_scale > 1.0,
            threads=args.threads_per_replica,
            plugins=(*args.plugins, *self.plugins),
        )


def resolve(args: ServeArgs) -> Serving:
    """What `args` say, with files read and plugins imported where this runs.

    Raises UserError for a config that cannot be read, settings that contradict each other, a model or a scorer that is
    not there.
    """
    plugins.load(args.plugins, "plugins")
    base = _base(args)
    size = args.size or f"{base.sampling.width}x{base.sampling.height}"
    width, height = (int(side) for side in size.split("x"))
    given: dict[str, Any] = {"width": width, "height": height}
    if args.steps:
        given["steps"] = args.steps
    if args.guidance_scale >= 0:
        given["guidance_scale"] = args.guidance_scale
    if args.max_sequence_length >= 0:
        given["max_sequence_length"] = args.max_sequence_length
    try:
        sampling = replace(base.sampling, **given)
    except ValueError as error:
        raise UserError(str(error)) from None
    if sampling.steps > args.max_steps:
        raise UserError(f"max_steps = {args.max_steps} is below the default of {sampling.steps} steps; raise it")
    if sampling.frames != 1:
        mp4.require(f"sampling.frames = {sampling.frames}: an endpoint that makes videos")
    check_model(base.model.path, "model" if args.model else "model.path")
    gpus = args.gpus_per_replica > 0
    model = resolved(replace(base.model, device=args.device, dtype=args.dtype or base.model.dtype), gpus=gpus)
    scoring = _scoring(args, base.scoring)
    if scoring:
        check(scoring)
    return replace(
        base,
        name=args.name or base.name,
        model=model,
        scoring=scoring,
        sampling=sampling,
        sizes=tuple(dict.fromkeys([size, *args.sizes])),
        warnings=(*base.warnings, *_known(slowness(model, gpus=gpus))),
    )


def _base(args: ServeArgs) -> Serving:
    if args.config:
        job = load(args.config)
        return Serving(
            name=_name_of(job.model.path),
            model=job.model,
            scoring=job.scoring,
            sampling=job.sampling,
            interventions=job.interventions,
            fps=job.output.fps,
            sizes=(),
            images_per_group=job.group.size,
            warnings=_known(job.recommended.warning),
            plugins=job.run.plugins,
        )
    if args.model:
        model, name, scoring = ModelSpec(path=args.model, revision=args.revision), _name_of(args.model), None
    else:
        model, name = ModelSpec(path=str(embedded.WEIGHTS / "pipeline"), dtype="float32"), EMBEDDED
        scoring = Scoring(model=f"local-dir:{embedded.WEIGHTS / 'clip'}")
    known = settings_of(model.path)
    return Serving(
        name=name,
        model=model,
        scoring=scoring,
        sampling=known.sampling,
        interventions=known.interventions,
        sizes=(),
        warnings=_known(known.recommended.warning),
    )


def _known(warning: str) -> tuple[str, ...]:
    return (warning,) if warning else ()


def _name_of(path: str) -> str:
    if Path(path) == embedded.WEIGHTS / "pipeline" or path == "models/embedded/weights/pipeline":
        return EMBEDDED
    return Path(path).resolve().name if Path(path).exists() else path


def _scoring(args: ServeArgs, base: Scoring | None) -> Scoring | None:
    if args.scoring == "off":
        return None
    if not args.scoring:
        return base
    return Scoring(**open_clip_table(args.scoring, separator="/"))
