"""All interventions that configs, rows and requests may name. A new one is one file and one line here; one from another
package calls `register` when it is imported (see `run.plugins`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Literal, get_args, get_origin, get_type_hints

from models.interventions.base import Intervention
from models.interventions.cads import CADS
from models.interventions.dave import DAVE
from models.interventions.guidance_interval import GUIDANCE_INTERVAL
from models.interventions.lora_interval import LORA_INTERVAL
from models.interventions.particle_guidance import PARTICLE_GUIDANCE
from models.interventions.pink_start import PINK_START
from models.interventions.repulsion.entry import REPULSION
from models.interventions.tora.entry import TORA
from models.plugins import COLUMN_NAME
from models.spec import Interval, InterventionConfig

_REGISTERED: dict[str, Intervention] = {}
_KINDS = (float, int, bool, str, Interval)


def register(entry: Intervention) -> None:
    """Make an intervention known to this process. The same entry may be registered again.

    Raises:
        ValueError: when the name cannot name a column, another entry has it, a setting has no default or a type that
            no column can hold, or a slider or `work` names no setting.
    """
    if not COLUMN_NAME.fullmatch(entry.name):
        raise ValueError(f"intervention {entry.name!r}: the name needs a-z, then a-z, 0-9 and _")
    if _REGISTERED.get(entry.name, entry) != entry:
        raise ValueError(f"intervention {entry.name!r}: another one has this name")
    if bare := [f.name for f in fields(entry.config) if f.default is MISSING]:
        raise ValueError(f"intervention {entry.name!r}: its settings {bare} need defaults")
    types_of = get_type_hints(entry.config)
    for name, kind in types_of.items():
        texts = get_origin(kind) is Literal and all(isinstance(value, str) for value in get_args(kind))
        if kind not in _KINDS and not texts:
            raise ValueError(f"intervention {entry.name!r}: no column can hold {name}, which is {kind}")
    for name in (*(control.field for control in entry.controls), *([entry.work] if entry.work else [])):
        if name not in types_of:
            raise ValueError(f"intervention {entry.name!r}: there is no setting {name}")
    if not entry.title.strip():
        raise ValueError(f"intervention {entry.name!r}: needs a title")
    _REGISTERED[entry.name] = entry


def registered() -> tuple[Intervention, ...]:
    """All entries, in the order in which their edits are made."""
    return tuple(_REGISTERED.values())


def find(name: str) -> Intervention | None:
    """The entry with this name; None where there is none."""
    return _REGISTERED.get(name)


def entry_of(config: InterventionConfig) -> Intervention:
    """The entry that settings belong to.

    Raises:
        ValueError: when no registered entry has settings of this class.
    """
    for entry in registered():
        if type(config) is entry.config:
            return entry
    raise ValueError(f"{type(config).__name__} are settings of no registered intervention")


def in_order(configs: Iterable[InterventionConfig]) -> tuple[InterventionConfig, ...]:
    """Settings in the order in which their edits are made."""
    of_name = {entry_of(config).name: config for config in configs}
    return tuple(of_name[entry.name] for entry in registered() if entry.name in of_name)


for _entry in (TORA, REPULSION, DAVE, CADS, GUIDANCE_INTERVAL, PARTICLE_GUIDANCE, LORA_INTERVAL, PINK_START):
    register(_entry)
