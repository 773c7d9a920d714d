"""What the groups of a prompt are made with: the run's settings, or those with a row's own in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from models.errors import require
from models.interventions.registry import entry_of
from models.sizes import sides, size_unit
from models.spec import Sampling
from pipelines.config.arms import Arm
from pipelines.config.run import RunConfig
from pipelines.config.tables import GroupSize, Output, Run
from pipelines.plan.shard_size import MOST_SHARD_BYTES, groups_per_prompt, most_file_bytes
from pipelines.prompts.settings import OF_WORDS, Own, RowSettings, shape_of

_OF_INTERVENTIONS = {"sigma": "tora", "strength": "repulsion", **dict.fromkeys(OF_WORDS, "repulsion")}
"""Row setting -> the intervention with a setting of this name."""
_SAMPLING = tuple(field.name for field in fields(Sampling))
_REMEMBERED = 4096
_MOST_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The tables of a `RunConfig` that a row can change, with what its row says; `output` is the run's."""

    sampling: Sampling
    arms: tuple[Arm, ...]
    group: GroupSize
    output: Output


class Variants:
    """The variants of a run, each made when a row first needs it.

    config: the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._unit = size_unit(config.model.path)
        self._base = Variant(sampling=config.sampling, arms=config.arms, group=config.group, output=config.output)
        self._settled = lru_cache(_REMEMBERED)(self._settle)
        self.of = lru_cache(_REMEMBERED)(self._of)
        """The variant of a row, from `RowSettings.own` and `RowSettings.images`."""
        self.words = lru_cache(_REMEMBERED)(self._words)
        """As of `pipelines.prompts.settings.Rules`."""

    def settle(self, given: Mapping[str, Any]) -> RowSettings:
        """As of `pipelines.prompts.settings.Rules`."""
        rest = tuple(sorted((name, value) for name, value in given.items() if name not in ("seed", "images")))
        seed, images = given.get("seed"), given.get("images")
        if seed is not None:
            Run(output="unused", seed=seed)
        if images is not None:
            if self.config.quota:
                raise ValueError(f"images = {images}: in a run with [quota] it decides how many images a prompt gets")
            require(1 <= images <= _MOST_IMAGES, "images", images, f"needs 1 to {_MOST_IMAGES:,}")
        return RowSettings(self._settled(rest, images), seed, images)

    def _settle(self, given: Own, images: int | None) -> Own:
        """Those that differ from the run's, checked."""
        wanted = dict(given)
        if (ratio := wanted.pop("aspect_ratio", None)) is not None:
            if both := {"width", "height"} & wanted.keys():
                raise ValueError(f"aspect_ratio = {ratio!r}: give it or {' and '.join(sorted(both))}, not both")
            run = self.config.sampling
            wanted["width"], wanted["height"] = sides(run.width * run.height, shape_of(ratio), self._unit)
        if levels := wanted.get("sigmas"):
            wanted.setdefault("steps", len(levels))
        own = tuple((name, value) for name, value in sorted(wanted.items()) if self._changes(name, value))
        made = self.of(own, images)
        for arm in made.arms:
            arm.sampling.of(made.sampling)
        count, at = groups_per_prompt(made) * made.group.size, made.sampling
        if count * most_file_bytes(made) > MOST_SHARD_BYTES:
            raise ValueError(f"{count} images of {at.width} x {at.height} could exceed 2 GiB: ask for fewer or smaller")
        return own

    def _words(self, own: Own) -> tuple[tuple[str, str], ...]:
        named = {name for name, _ in own}
        acting = [one for arm in self.of(own, None).arms for one in arm.interventions]
        found = [
            (name if name in named else f"{of}.{name}", getattr(one, name))
            for one in acting
            for name, of in _OF_INTERVENTIONS.items()
            if name in OF_WORDS and of == entry_of(one).name
        ]
        return tuple(dict.fromkeys((name, words) for name, words in found if words))

    def _changes(self, name: str, value: Any) -> bool:
        if name in _SAMPLING:
            if all(name in arm.sampling.given() for arm in self.config.arms):
                raise ValueError(f"{name} = {value!r} has no effect: every arm has a setting of its own")
            return bool(getattr(self.config.sampling, name) != value)
        kind = _OF_INTERVENTIONS[name]
        acting = [one for arm in self.config.arms for one in arm.interventions if entry_of(one).name == kind]
        if not acting:
            raise ValueError(f"{name} = {value!r} has no effect: {kind} is on in no arm")
        if name == "strength" and all(getattr(one, "eta", 0) for one in acting):
            raise ValueError(f"{name} = {value!r} has no effect: repulsion.eta goes before it")
        return any(getattr(one, name) != value for one in acting)

    def _of(self, own: Own, images: int | None) -> Variant:
        base = self._base
        changes = dict(own)
        sampling: dict[str, Any] = {name: value for name, value in changes.items() if name in _SAMPLING}
        group = base.group
        if images is not None:
            group = replace(group, size=min(images, group.size), groups_per_prompt=-(-images // group.size))
        return replace(
            base,
            sampling=replace(base.sampling, **sampling) if sampling else base.sampling,
            arms=tuple(_changed(arm, changes) for arm in base.arms) if len(sampling) < len(own) else base.arms,
            group=group,
        )


def _changed(arm: Arm, own: Mapping[str, Any]) -> Arm:
    """An arm with a row's settings of its interventions."""
    changed = []
    for one in arm.interventions:
        kind = entry_of(one).name
        settings: dict[str, Any] = {
            name: own[name] for name, of in _OF_INTERVENTIONS.items() if of == kind and name in own
        }
        changed.append(replace(one, **settings))
    return replace(arm, interventions=tuple(changed))


def image_count(config: RunConfig, images: int | None) -> int:
    """Images of a prompt in each arm.

    config: the run.
    images: that its row asks for.
    """
    return config.group.size * config.group.groups_per_prompt if images is None else images
