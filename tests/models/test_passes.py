"""Passes of the transformer: each row of each step is one, whatever acts."""

from __future__ import annotations

from models.embedded.passes import counted
from models.generator import Generator
from models.interventions.tora.config import ToraConfig
from models.spec import Group, InterventionConfig, ModelSpec, Sampling


def test_a_look_at_the_negative_text_is_no_pass_and_nothing_is_counted_afterwards(tiny_pipeline: str) -> None:
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))

    def make(guidance_scale: float, *acting: InterventionConfig) -> None:
        sampling = Sampling(steps=2, guidance_scale=guidance_scale, width=16, height=16, max_sequence_length=4)
        generator.generate([Group(prompt="a red ring", seeds=(1, 2, 3), sampling=sampling, interventions=acting)])

    for guidance_scale, passes in ((1.0, 6), (4.0, 12)):
        for acting in ((), (ToraConfig(),)):
            with counted(generator.transformer) as count:
                make(guidance_scale, *acting)
            assert count.passes == passes
    make(1.0)
    assert count.passes == 12
