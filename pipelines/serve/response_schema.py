"""The bodies of responses: OpenAI's images API, and what is this project's. Of requests: `pipelines.serve.schema`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field, create_model

from models.interventions.registry import registered


class Image(BaseModel):
    """One image. Fields beyond OpenAI's: its seed as a number and as a text, image_id, and the scores where they are
    on."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: None = None
    seed: int
    image_id: str
    clip_score: float | None = None
    clip_margin: float | None = None
    nearest_similarity: float | None = None
    temporal_consistency: float | None = None

    @computed_field
    def seed_text(self) -> str:
        """The digits of `seed`."""
        return str(self.seed)


class GroupReport(BaseModel):
    """How the group was made: enough to make it again, here or in the batch job. `response_model` adds the settings of
    each intervention, null where it is off."""

    model_config = ConfigDict(extra="allow")

    model: str
    model_revision: str
    family: str
    dtype: str
    scheduler: str
    prompt: str
    seed: int | None
    seeds: list[int]
    size: str
    steps: int
    sigmas: list[float] = []
    guidance_scale: float
    negative_prompt: str
    max_sequence_length: int
    frames: int = 1
    fps: int = 0
    denoising_strength: float | None = None
    loras: list[dict[str, Any]] = []
    warnings: list[str] = []
    tokens_cut: dict[str, int]
    negative_tokens_cut: dict[str, int]
    clip_model: str | None = None
    clip_margin_missing: str | None = None
    clip_tokens_cut: dict[str, int] | None = None
    group_vendi: float | None = None
    group_pair_similarity: float | None = None
    groups_in_batch: int
    queue_seconds: float
    generate_seconds: float

    @computed_field
    def seed_text(self) -> str | None:
        """The digits of `seed`; null where that is."""
        return None if self.seed is None else str(self.seed)

    @computed_field
    def seed_texts(self) -> list[str]:
        """The digits of `seeds`."""
        return [str(seed) for seed in self.seeds]


class InputTokens(BaseModel):
    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """OpenAI's field, which clients expect: nothing is billed by tokens here."""

    input_tokens: int = 0
    input_tokens_details: InputTokens = InputTokens()
    output_tokens: int = 0
    total_tokens: int = 0


class ImageFacts(BaseModel):
    """What OpenAI's answers and events say of their images."""

    output_format: str
    size: str
    background: Literal["opaque"] = "opaque"
    quality: Literal["auto"] = "auto"


class ImageResponse(ImageFacts):
    created: int
    data: list[Image]
    usage: Usage = Usage()
    group: GroupReport


def response_model() -> type[ImageResponse]:
    """The response's model with the interventions that are registered here."""
    settings: dict[str, Any] = {entry.name: (dict[str, Any] | None, ...) for entry in registered()}
    group = create_model("GroupReportHere", __base__=GroupReport, **settings)
    changed: dict[str, Any] = {"group": (group, ...)}
    return create_model("ImageResponseHere", __base__=ImageResponse, **changed)


class Counts(BaseModel):
    least: int
    most: int


class Abilities(BaseModel):
    """What a loaded model can do."""

    family: str
    size_multiple: int
    """Width and height are multiples of it."""
    pictures: Counts
    """How many a request has: those at least, at /v1/images/edits, and at most."""
    refused: dict[str, str]
    """Fields that no request to it can have, each with the reason."""


class LoraCard(BaseModel):
    name: str
    scale: float


class ModelCard(BaseModel):
    """A model as OpenAI lists it; limits and defaults say what a request may hold, abilities what the model can do,
    loras which ones it has, each at its scale, and job what a batch job's file has to say for the same model and
    scorer."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "raydiance"
    parent: str | None = None
    """The model whose LoRA it is."""
    limits: dict[str, Any]
    defaults: dict[str, Any]
    abilities: Abilities | None
    """Null until a copy of the model has been loaded, and has answered."""
    loras: list[LoraCard]
    job: dict[str, dict[str, Any]]


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    error: ErrorBody
