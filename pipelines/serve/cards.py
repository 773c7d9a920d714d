"""The served models as GET /v1/models lists them: what a request to each may hold, and what it gets otherwise."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

from models.info import ModelInfo
from pipelines.serve.abilities import abilities
from pipelines.serve.job_tables import job_tables
from pipelines.serve.response_schema import LoraCard, ModelCard
from pipelines.serve.serving import Serving
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import Models


class Cards:
    """The cards of the served models.

    models: those that are served.
    """

    def __init__(self, models: Models) -> None:
        self._models, self._created = models, int(time.time())

    async def all(self) -> list[ModelCard]:
        """Each model, and after it each of its LoRAs as a model of its own."""
        cards = []
        infos = await asyncio.gather(*(model.engine.info() for model in self._models))
        for model, info in zip(self._models, infos, strict=True):
            own = _card(model.args, model.serving, info, self._created)
            cards += [own, *(own.model_copy(update={"id": lora.name, "parent": own.id}) for lora in own.loras)]
        return cards


def _card(args: ServeArgs, serving: Serving, info: ModelInfo | None, created: int) -> ModelCard:
    sampling = serving.sampling.settings(pictures=False)
    del sampling["width"], sampling["height"]
    return ModelCard(
        id=serving.name,
        created=created,
        limits={
            "n": args.max_n,
            "sizes": list(serving.sizes),
            "steps": args.max_steps,
            "inner_steps": args.max_inner_steps,
            "prompt_characters": args.max_prompt_characters,
        },
        defaults={
            "size": serving.sizes[0],
            **sampling,
            **{name: asdict(settings) for name, settings in serving.interventions.items()},
        },
        abilities=None if info is None else abilities(info),
        loras=[LoraCard(name=lora.name, scale=lora.scale) for lora in serving.model.loras],
        job=job_tables(args, serving),
    )
