"""The models of one endpoint: each has settings of its own, as if it had the endpoint alone."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipelines.errors import UserError
from pipelines.serve.arguments import checked, given_by
from pipelines.serve.errors import ApiError
from pipelines.serve.jobs import Engine
from pipelines.serve.serving import Serving, resolve
from pipelines.serve.settings import ServeArgs

_WHICH = ("name", "dtype", "scoring", "size", "sizes", "steps", "guidance_scale", "max_sequence_length")
"""Settings that say what a model is: those of the first are not meant for the others."""
_HOW = (
    *("device", "max_n", "max_steps", "max_inner_steps", "max_seconds", "max_prompt_characters"),
    *("replicas", "min_replicas", "max_replicas", "idle_s"),
    *("gpus_per_replica", "parallelism", "cpus_per_replica", "threads_per_replica"),
    *("groups_per_batch", "megapixels_per_batch", "pack_wait_ms", "max_queue", "queue_timeout_s", "timeout_s"),
)
"""Settings that are the same for every model, unless one says otherwise."""
_NOT_SHARED = (*_WHICH, "config", "model", "revision", "configs")


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A model that is served."""

    args: ServeArgs
    """Its settings."""
    serving: Serving
    """What they say."""

    @property
    def name(self) -> str:
        return self.serving.name

    @property
    def names(self) -> tuple[str, ...]:
        """Its own, and those of its LoRAs: requests name one of them as their model."""
        return self.name, *(lora.name for lora in self.serving.model.loras)


@dataclass(frozen=True, kw_only=True)
class Served(Offered):
    """A model with what makes its groups."""

    engine: Engine
    """Makes them."""


class Models:
    """The models that are served, by the names that requests have for them.

    models: the first is that of requests that name none.
    """

    def __init__(self, models: Sequence[Served]) -> None:
        self._models = tuple(models)
        self._by_name = {name: model for model in self._models for name in model.names}

    def __iter__(self) -> Iterator[Served]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def args(self) -> ServeArgs:
        """The settings of the endpoint: it has them from its first model."""
        return self._models[0].args

    def of(self, name: str | None) -> Served:
        """The model that a request names.

        Raises:
            ApiError: when there is none of this name (404).
        """
        model = self._models[0] if name is None else self._by_name.get(name)
        if model is None:
            names = [*self._by_name]
            here = f"this is {names[0]}" if len(names) == 1 else f"there are {', '.join(names)}"
            raise ApiError(404, f"there is no such model; {here}", param="model", code="model_not_found")
        return model

    def patient(self) -> Models:
        """The same models, for jobs: they may take as long as a job may."""
        seconds = self.args.job_timeout_s
        longer = {"queue_timeout_s": seconds, "timeout_s": seconds}
        return Models([replace(one, args=one.args.model_copy(update=longer)) for one in self])


def models_of(args: ServeArgs, engines: Sequence[Engine]) -> Models:
    """The models with what makes their groups.

    args: the settings.
    engines: one for each model, in the order of `offered`.
    """
    pairs = zip(offered(args), engines, strict=True)
    return Models([Served(args=one.args, serving=one.serving, engine=engine) for one, engine in pairs])


def offered(args: ServeArgs) -> list[Offered]:
    """The model that the settings name, and those of `configs`.

    Raises:
        UserError: when a setting does not fit, or two models or LoRAs have one name.
    """
    found = _resolved([args, *(_further(entry, args) for entry in args.configs)])
    if len(found) > 1 and (plugins := dict.fromkeys(name for one in found for name in one.serving.plugins)):
        # Plugins register for a whole process: every model offers what those of all configs bring.
        found = _resolved(
            [one.args.model_copy(update={"plugins": (*dict.fromkeys([*one.args.plugins, *plugins]),)}) for one in found]
        )
    twice = [name for name, count in Counter(name for one in found for name in one.names).items() if count > 1]
    if twice:
        change = "name=OTHER renames the first model, configs='b.toml name=OTHER' another, [[model.loras]] a LoRA"
        raise UserError(f"two models or LoRAs have the name {twice[0]!r}: {change}")
    return found


def _resolved(every: Sequence[ServeArgs]) -> list[Offered]:
    found = []
    for args in every:
        with _told_of(args.config if args is not every[0] else ""):
            found.append(Offered(args=args, serving=resolve(args)))
    return found


def _further(entry: str, args: ServeArgs) -> ServeArgs:
    """The settings of a further model. entry: a config, and KEY=VALUE each what differs for it."""
    with _told_of(entry):
        try:
            config, *words = shlex.split(entry)
        except ValueError as error:
            raise UserError(f"write CONFIG KEY=VALUE ...: {error}") from None
        own = given_by(words, (*_WHICH, *_HOW))
        shared = {key: getattr(args, key) for key in args.model_fields_set if key not in _NOT_SHARED}
        return checked(shared | own | {"config": config})


@contextmanager
def _told_of(entry: str) -> Iterator[None]:
    """Errors name the entry of `configs`; "" for the first model."""
    try:
        yield
    except UserError as error:
        if not entry:
            raise
        raise UserError(f"configs, {entry!r}: {error}") from error
