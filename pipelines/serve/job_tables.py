"""What a batch job's TOML file says to have the endpoint's model and scorer, for "Copy for a batch job" on the page."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields
from typing import Any

from pipelines.config.scorers import Scoring
from pipelines.serve.serving import Serving
from pipelines.serve.settings import ServeArgs

_SCORING = Scoring(model="ViT-L-14", pretrained="openai")
"""For endpoints without a scorer: a job cannot be without one."""


def job_tables(args: ServeArgs, serving: Serving) -> dict[str, dict[str, Any]]:
    """Tables of a run's TOML file, with the settings that are not a job's defaults.

    args: the settings.
    serving: the model and its defaults.
    """
    model = _not_defaults(serving.model)
    model.pop("device", None)  # a job's workers have the devices that [ray] gives them
    tables = {"model": model, "scoring": _not_defaults(serving.scoring or _SCORING)}
    if named := [*dict.fromkeys([*serving.plugins, *args.plugins])]:
        tables["run"] = {"plugins": named}
    if args.gpus_per_replica:
        tables["ray"] = {"gpus_per_generator": args.gpus_per_replica}
    if args.gpus_per_replica > 1:
        tables["ray"] |= {"gpus_per_replica": int(args.gpus_per_replica), "parallelism": args.parallelism}
    return tables


def _not_defaults(settings: Any) -> dict[str, Any]:
    plain = asdict(settings)
    defaults = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(settings)
    }
    return {name: plain[name] for name, default in defaults.items() if getattr(settings, name) != default}
