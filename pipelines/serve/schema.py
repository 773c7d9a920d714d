"""The bodies of requests: OpenAI's images API, and the extensions that make it this project's.

The request's model is made for each app, so that its OpenAPI document states the limits and defaults that hold there.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, LiteralString, TypeVar, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.interventions.base import Intervention
from models.interventions.registry import find, registered
from models.spec import InterventionConfig
from pipelines.errors import UserError
from pipelines.serve.jobs import Clip
from pipelines.serve.response_schema import GroupReport
from pipelines.serve.serving import Serving
from pipelines.serve.settings import ServeArgs

_SEED = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "The same number, as `seed_text` has it."},
    ]
}
Seed = Annotated[int, Field(ge=0, lt=2**63), WithJsonSchema(_SEED, mode="validation")]
"""A number or its digits: JavaScript's numbers are exact to 2**53 alone, so its clients get and send seeds as texts."""

R = TypeVar("R", bound="ImageRequest")

_NOT_HERE: dict[str, LiteralString] = {
    "quality": "there are no levels of quality here: set steps",
    "style": "there are no styles here: say it in the prompt",
    "background": "images are opaque here",
}
"""OpenAI's fields that promise what is not done here, and why only a value that asks for nothing is taken."""


def _not_here(field: str) -> LiteralString:
    return _NOT_HERE[field] + "; leave it out"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class LoraAsked(_Body):
    name: str
    scale: float | None = Field(None, ge=-10, le=10)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ImageRequest(_Body):
    """What every app accepts; `request_model` adds the fields whose limits differ from app to app."""

    prompt: str
    model: str | None = Field(
        None,
        description="A served model's name, or that of one of its LoRAs, which acts alone; absent: the first model.",
    )
    n: int | None
    size: str | None
    steps: int | None
    num_inference_steps: int | None
    sigmas: list[float] | None
    guidance_scale: float | None
    negative_prompt: str | None
    response_format: Literal["b64_json", "url"] | None = Field(
        "b64_json", description='Image bytes in the response, or a URL that works for a while ("url").'
    )
    output_format: Literal["png", "webp", "jpeg"] | None = Field("png", description="png and webp are lossless.")
    output_compression: int | None = Field(
        100, ge=0, le=100, description="Quality of jpeg, 100 the best; png and webp are lossless and take 100 alone."
    )
    stream: bool | None = Field(
        False, description="Server-sent events: `image_generation.progress` after each step, then the images."
    )
    partial_images: int | None = Field(
        None,
        ge=0,
        le=3,
        description="With `stream`: so many times, an event `image_generation.partial_image` has a small picture of "
        "what each image looks like by then. A run of few steps has fewer.",
    )
    user: str | None = Field(None, description="Accepted for compatibility; it has no effect and is not stored.")
    seed: Seed | None = Field(
        None,
        description="Extension. `run.seed` of the batch job: with the same prompt it gives the same images. Chosen at "
        "random, and returned, if absent.",
    )
    seeds: list[Seed] | None
    loras: list[LoraAsked] | None = Field(
        None,
        description="Extension. Those of the model's LoRAs that act, by name, or as objects with `name` and `scale`; "
        "absent, all act as the server has them.",
    )
    counterfactual: str | None = Field(
        None, description="Extension. The prompt with its rare attribute made common; gives `clip_margin`."
    )
    scores: bool | None = Field(True, description="Extension. Score the images; false saves a little time.")
    exact: bool | None = Field(
        False,
        description="Extension. Share the denoising batch with no other request, for the very pixels of a batch job "
        "that has one group per batch. Otherwise pixels may differ by a last bit (1/255).",
    )
    quality: Literal["auto"] | None = Field(None, description=_not_here("quality"))
    style: None = Field(None, description=_not_here("style"))
    background: Literal["auto", "opaque"] | None = Field(None, description=_not_here("background"))
    moderation: Literal["auto", "low"] | None = Field(
        None, description="Accepted for compatibility; nothing is filtered here."
    )
    safety_identifier: str | None = Field(
        None, description="Accepted for compatibility; it has no effect and is not stored."
    )

    kind_of_events: ClassVar[str] = "image_generation"
    """What the names of its events begin with."""
    sampling_fields: ClassVar[tuple[str, ...]] = ("guidance_scale", "negative_prompt")
    """Fields that go before those of `models.spec.Sampling` of the same names."""

    size_unsaid: ClassVar[str] = ""
    """The size of requests that say none; "" is the app's."""

    @property
    def by_url(self) -> bool:
        """Whether the files are kept, and fetched later."""
        return self.response_format == "url"

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """The files of the pictures to edit."""
        return ()

    @property
    def mask_file(self) -> bytes | None:
        """What of the first picture is made anew."""
        return None

    @classmethod
    def numbers(cls, args: ServeArgs) -> dict[str, Any]:
        """The fields that say how many images, and which, in the limits of an app."""
        said = "Extension. The seeds of the images themselves, n of them, in place of `seed`."
        return {
            "n": (int | None, Field(1, ge=1, le=args.max_n, description="Images of the group; made together.")),
            "seeds": (list[Seed] | None, Field(None, min_length=1, max_length=args.max_n, description=said)),
        }

    def clip(self, serving: Serving) -> Clip | None:
        """What makes it a video; None for pictures."""
        return None

    @field_validator(*_NOT_HERE, mode="wrap")
    @classmethod
    def _not_ignored(cls, value: Any, check: ValidatorFunctionWrapHandler, field: ValidationInfo) -> Any:
        try:
            return check(value)
        except ValidationError:
            raise PydanticCustomError("not_here", _not_here(field.field_name or "")) from None


def request_model(args: ServeArgs, serving: Serving, kind: type[R], number: int = 1) -> type[R]:
    """The model of a kind of requests with the limits and defaults of a served model.

    args: its settings.
    serving: the served model and its defaults.
    kind: of the requests.
    number: of the served model, from 1 on: no two of a document have one name.
    """
    ending = str(number) if number > 1 else ""
    sampling, text = serving.sampling, args.max_prompt_characters
    steps: dict[str, Any] = {"ge": 1, "le": args.max_steps}
    changed: dict[str, Any] = {
        "prompt": (str, Field(..., min_length=1, max_length=text)),
        "size": (
            Literal[(*serving.sizes, "auto")] | None,
            Field(kind.size_unsaid or serving.sizes[0], description="Width x height in pixels."),
        ),
        "steps": (
            int | None,
            Field(sampling.steps, **steps, description="Extension. Denoising steps."),
        ),
        "num_inference_steps": (
            int | None,
            Field(None, **steps, description="Extension. diffusers' name for `steps`; give one of them."),
        ),
        "sigmas": (
            list[float] | None,
            Field(
                list(sampling.sigmas),
                max_length=args.max_steps,
                description="Extension. The noise levels of the steps, falling from at most 1, and as many as `steps`, "
                "which may be left out then; [] for the sampler's own.",
            ),
        ),
        "guidance_scale": (
            float | None,
            Field(sampling.guidance_scale, ge=0, le=100, description="Extension. 1 and below: no guidance."),
        ),
        "negative_prompt": (
            str | None,
            Field(sampling.negative_prompt, max_length=text, description="Extension."),
        ),
        **kind.numbers(args),
    }
    for entry in registered():
        if entry.name in kind.model_fields or entry.name in GroupReport.model_fields:
            raise UserError(f"the intervention {entry.name!r} has the name of a field of requests or reports")
        changed[entry.name] = _intervention(entry, serving.interventions[entry.name], ending)
    return create_model(f"{kind.__name__}Here{ending}", __base__=kind, **changed)


def _intervention(entry: Intervention, defaults: InterventionConfig, ending: str) -> tuple[Any, Any]:
    """The field of a request that switches an intervention on; its settings have the app's defaults."""
    types_of = get_type_hints(entry.config)
    here: dict[str, Any] = {f.name: (types_of[f.name], getattr(defaults, f.name)) for f in fields(entry.config)}
    name = "".join(word.capitalize() for word in entry.name.split("_"))
    options = create_model(name + ending, __base__=_Body, **here)
    said = f"Extension. {entry.title}, which {entry.purpose}: true, or its settings."
    return Annotated[StrictBool | options | None, BeforeValidator(_of_form)], Field(False, description=said)


def _of_form(value: Any) -> Any:
    """Forms have texts alone; the switch of an intervention is not one."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def fields_of(kind: type[ImageRequest], name: str) -> list[str]:
    """The fields that a request may have, or those of an object in it.

    kind: of the request.
    name: of the object; "" for the request itself.
    """
    if not name:
        return [*kind.model_fields, *(entry.name for entry in registered())]
    entry = find(name)
    return [] if entry is None else [field.name for field in fields(entry.config)]
