"""What a person should know of a config that is not wrong: it is printed before the run, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator

from models.loading.dtype import slowness
from pipelines.config.arms import loras_of
from pipelines.config.borrowed import borrowed
from pipelines.config.run import RunConfig
from pipelines.plan.survey import Survey
from pipelines.prompts.unused import notices


def of_rows(config: RunConfig, survey: Survey) -> Iterator[str]:
    """What a person should know of the columns of the prompt files, a line each.

    config: the run.
    survey: of its plan.
    """
    if acting := survey.wanted.settings:
        names = ", ".join(acting)
        yield f"rows of the prompt files have settings of their own: {names} ({survey.buckets:,} buckets)"
    yield from notices(survey.wanted, config.prompts.columns, config.columns(1).names)


def of_model(config: RunConfig) -> Iterator[str]:
    """One sentence or two for each thing that a person should know of the model and its settings.

    config: the run.
    """
    if config.recommended.warning:
        yield config.recommended.warning
    if slow := slowness(config.model, gpus=config.ray.on_gpus):
        yield slow


def of_arms(config: RunConfig) -> Iterator[str]:
    """One sentence or two for each arm that draws without a LoRA, but with its settings.

    config: the run.
    """
    for arm in config.arms:
        sampling, said = arm.sampling.of(config.sampling), arm.sampling.given()
        if found := borrowed(config.model, loras_of(arm, config.model), sampling, arm.interventions, said):
            yield found.of_arm(arm.name)
