"""What is drawn without a LoRA, but with the settings that are recommended for the model with it: in the steps of a
few-step LoRA the model alone draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from models.interventions.registry import entry_of
from models.spec import InterventionConfig, Lora, ModelSpec, Sampling
from pipelines.config.arm_sampling import ArmSampling
from pipelines.config.recommended import Settings, settings_of
from pipelines.config.write_toml import inline

Tables = Mapping[str, Mapping[str, Any]]
"""The keys of an arm that are tables -> settings."""


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """Settings that are recommended for LoRAs, where these do not act."""

    loras: tuple[str, ...]
    """The names of those that do not."""
    drawn: Tables
    """The settings."""
    recommended: Tables
    """What is recommended in their place."""

    def of_arm(self, name: str) -> str:
        """A sentence for the person who has written an arm.

        name: of the arm.
        """
        drawn, recommended = _said(self.drawn), _said(self.recommended)
        return f"arms.{name} {self._lead}: {drawn}. Without it, say in the arm as is recommended: {recommended}"

    def of_request(self) -> str:
        """A sentence for the person who has asked an endpoint, where settings of the sampling are fields themselves."""
        drawn, recommended = (
            _said({**tables.get("sampling", {}), **{name: own for name, own in tables.items() if name != "sampling"}})
            for tables in (self.drawn, self.recommended)
        )
        return f"the request {self._lead}: {drawn}. Without it, ask for what is recommended: {recommended}"

    @property
    def _lead(self) -> str:
        names = " and ".join(map(repr, self.loras))
        return f"is without the LoRA {names}, but has settings that are recommended with it"


def borrowed(
    model: ModelSpec,
    acting: Sequence[Lora],
    sampling: Sampling,
    interventions: Sequence[InterventionConfig],
    said: Collection[str] = (),
    known: Callable[[str, tuple[Lora, ...]], Settings] = settings_of,
) -> Borrowed | None:
    """What pictures are drawn with that is recommended for LoRAs which do not act on them; None for nothing.

    model: with all of its LoRAs.
    acting: those that act.
    sampling: of the pictures.
    interventions: settings of those that act on them.
    said: settings of the sampling that somebody chose for these very pictures.
    known: `settings_of`, or what remembers its answers.

    Raises:
        UserError: as `settings_of`.
    """
    names = {lora.name for lora in acting if lora.scale}
    resting = tuple(lora.name for lora in model.loras if lora.name not in names)
    if not resting:
        return None
    every = known(model.path, model.loras)
    own = known(model.path, tuple(lora for lora in model.loras if lora.name in names))
    of_arms = [field.name for field in fields(ArmSampling) if field.name not in said]
    found = {"sampling": _alike(sampling, every.sampling, own.sampling, of_arms)}
    for used in interventions:
        name = entry_of(used).name
        keys = [one.name for one in fields(used)]
        found[name] = _alike(used, every.interventions[name], own.interventions[name], keys)
    found = {table: values for table, values in found.items() if values}
    drawn = {table: {key: now for key, (now, _) in values.items()} for table, values in found.items()}
    recommended = {table: {key: better for key, (_, better) in values.items()} for table, values in found.items()}
    return Borrowed(loras=resting, drawn=drawn, recommended=recommended) if found else None


def _alike(used: Any, with_all: Any, without: Any, keys: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Setting -> what it is and what is recommended without the LoRAs, where it is what they alone recommend."""
    values = {key: (getattr(used, key), getattr(with_all, key), getattr(without, key)) for key in keys}
    return {key: (now, better) for key, (now, theirs, better) in values.items() if now == theirs != better}


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {inline(value)}" for name, value in settings.items())
