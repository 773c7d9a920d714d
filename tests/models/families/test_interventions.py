"""Every registered intervention in every family: it acts and leaves no trace, or says why it cannot act."""

from __future__ import annotations

import re

import pytest
import torch

from models.errors import ModelError
from models.hooks.blocks import HOOK
from models.interventions.base import Intervention
from models.interventions.particle_guidance import ParticleGuidanceConfig
from models.interventions.registry import entry_of, registered
from models.spec import Group
from tests.support.family import TOLERANCE, Toy, apart, only

WHY_NOT = {
    "guidance_interval": "has nothing to leave out: .* runs without a negative here",
    "cads": "needs a flow-matching sampler",
    "particle_guidance": "needs a flow-matching sampler",
    "lora_interval": "has nothing to leave out: no LoRA acts",
    "pink_start": "needs the sampler FlowMatchEulerDiscreteScheduler|packs them",
}
"""The reason of those that cannot act everywhere."""
SETTINGS = {"guidance_interval": {"steps": (0.0, 0.5)}}
"""Where the defaults do nothing in as few steps as toys make."""


def outputs_or_refusal(toy: Toy, group: Group) -> torch.Tensor | None:
    try:
        return toy.outputs(group)
    except ModelError as error:
        name = entry_of(group.interventions[0]).name
        if name not in WHY_NOT or not re.search(WHY_NOT[name], str(error)):
            raise
        return None


@pytest.mark.parametrize("entry", registered(), ids=lambda entry: str(entry.name))
def test_it_acts_or_says_why_not(toy: Toy, entry: Intervention) -> None:
    base = toy.outputs(toy.group())
    config = entry.config(**SETTINGS.get(entry.name, {}))
    group = toy.group(interventions=(config,))
    changed = outputs_or_refusal(toy, group)
    assert (changed is None) == bool(entry.refusal(toy.generator.info))
    if changed is not None:
        assert torch.isfinite(changed).all()
        assert not torch.equal(changed, base)
        assert torch.equal(toy.outputs(group), changed)
        other = toy.group("a blue ring", (21, 22, 23), interventions=(config,))
        assert apart(toy.images(other, group)[1], toy.images(group)[0]) < TOLERANCE
    assert torch.equal(toy.outputs(toy.group()), base)
    for module in (toy.pipe.transformer, *(block for _, block in toy.blocks())):
        assert HOOK not in getattr(getattr(module, "_diffusers_hook", None), "hooks", ())


@only("mochi", "ovis-image")
def test_particle_guidance_drives_latents_apart(toy: Toy) -> None:
    """Whichever way the model's prediction points."""
    plain = toy.latents(toy.group())
    guided = toy.latents(toy.group(interventions=(ParticleGuidanceConfig(weight=1.0),)))
    assert torch.pdist(guided.flatten(1)).mean() > 1.01 * torch.pdist(plain.flatten(1)).mean()
