"""The samplers that each family is run with: its own, others where its pipeline can drive them, and fixed shifts."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import ModelError
from models.loading.sampler import sampler_of
from models.samplers import FLOW_MATCHING, does_flow_matching
from models.spec import ModelSpec
from tests.support.family import Toy, only

HEUN, UNIPC, DPM = "FlowMatchHeunDiscreteScheduler", "UniPCMultistepScheduler", "DPMSolverMultistepScheduler"


def spec(**settings: str | float) -> ModelSpec:
    return ModelSpec(path="owner/model", **settings)  # type: ignore[arg-type]


def test_a_sampler_draws_or_is_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    own, family = toy.pipe.scheduler, toy.family
    if not does_flow_matching(own):
        with pytest.raises(ModelError, match=f"is for flow-matching models, and {family.name} comes with CogVideoX"):
            sampler_of(own, family, spec(scheduler=UNIPC))
        return
    stock = toy.generator.generate([toy.group()])[0]
    refused = {"sd3": set(), "cogview4": {HEUN, DPM, UNIPC}, "mochi": {HEUN, DPM, UNIPC}}.get(family.name, {HEUN, DPM})
    for name in FLOW_MATCHING:
        asked = spec(scheduler=name, shift=9.0)
        if name in refused:
            with pytest.raises(ModelError, match=f"the pipeline of {family.name} gives its sampler .*: FlowMatchEuler"):
                sampler_of(own, family, asked)
            continue
        monkeypatch.setattr(toy.pipe, "scheduler", sampler_of(own, family, asked))
        assert not np.array_equal(stock, toy.generator.generate([toy.group()])[0])


@only("flux", "sd3")
def test_a_fixed_shift_takes_the_place_of_the_models_own(toy: Toy) -> None:
    own = type(toy.pipe.scheduler).from_config(
        toy.pipe.scheduler.config, use_dynamic_shifting=True, shift_terminal=0.02
    )
    for name in ("", UNIPC):
        fixed = sampler_of(own, toy.family, spec(scheduler=name, shift=3.0))
        fixed.set_timesteps(sigmas=np.array([1.0, 0.75, 0.5, 0.25]), mu=0.3)
        assert fixed.sigmas[:4].tolist() == pytest.approx([1.0, 0.9, 0.75, 0.5], abs=1e-3)
    assert sampler_of(own, toy.family, spec()) is own
