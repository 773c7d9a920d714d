"""A family's facts agree with diffusers, and what it cannot do is refused."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
from diffusers.hooks import FirstBlockCacheConfig, HookRegistry, apply_first_block_cache
from diffusers.hooks._helpers import TransformerBlockRegistry
from torch import nn

from models.errors import ModelError, PromptError
from models.families import FAMILIES, family_of
from models.families.refused import REASONS
from models.sizes import size_unit
from models.spec import Group
from tests.support.family import TORA, Toy, only, picture

WRONG_IN_DIFFUSERS = ("BriaTransformerBlock",)
"""Blocks that give their text, although diffusers 0.42.1 has it that they do not."""


def test_the_table_agrees_with_diffusers(toy: Toy) -> None:
    family, pipe = toy.family, toy.pipe
    assert type(pipe).__name__ in family.pipelines
    assert type(pipe.transformer).__name__ == family.transformer
    call = inspect.signature(type(pipe).__call__).parameters
    encoded = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling)
    negative = encoded.arguments if family.has_negative(pipe, toy.sampling) else None
    used = {*family.arguments(pipe, encoded.arguments, negative, toy.sampling), *encoded.shared}
    assert used | {"generator", "output_type"} <= set(call)
    forward = inspect.signature(type(pipe.transformer).forward).parameters
    assert set(family.text_inputs) <= set(forward)
    assert set(family.text_inputs.values()) <= set(encoded.arguments)
    for facts, block in toy.blocks():
        parameters = [*inspect.signature(type(block).forward).parameters]
        assert parameters.index(facts.text_argument) == facts.text_position + 1  # after self
        assert "hidden_states" in inspect.signature(type(getattr(block, facts.attention)).forward).parameters
        if type(block) in TransformerBlockRegistry._registry and type(block).__name__ not in WRONG_IN_DIFFUSERS:
            known = TransformerBlockRegistry.get(type(block))
            assert known.return_encoder_hidden_states_index == facts.text_output


def test_no_joint_block_list_is_forgotten(toy: Toy) -> None:
    lists = {name for name, child in toy.pipe.transformer.named_children() if isinstance(child, nn.ModuleList)}
    assert lists == {facts.name for facts in toy.family.block_lists}


def test_every_family_draws_sides_of_the_unit_that_its_folder_gives(toy: Toy) -> None:
    """Known without loading the model."""
    assert size_unit(toy.generator.info.model) % toy.family.size_multiple(toy.pipe) == 0


def test_noise_levels_are_taken_wherever_the_pipeline_takes_them(toy: Toy) -> None:
    assert toy.generator.info.sigmas == (toy.family.name not in ("bria", "mochi", "cogvideox"))


@only("flux", "sd3")
def test_refuses_what_hides_blocks(toy: Toy) -> None:
    transformer = toy.pipe.transformer
    apply_first_block_cache(transformer, FirstBlockCacheConfig(threshold=0.1))
    try:
        with pytest.raises(ModelError, match=r"fbc_.*disable the cache"):
            toy.generator.generate([toy.group(interventions=(TORA,))])
    finally:
        for name in ("fbc_leader_block_hook", "fbc_block_hook"):
            HookRegistry.check_if_exists_or_initialize(transformer).remove_hook(name)
    transformer.compile(backend="eager")
    try:
        with pytest.raises(ModelError, match="compiled as a whole"):
            toy.generator.generate([toy.group(interventions=(TORA,))])
    finally:
        transformer._compiled_call_impl = None


def test_refuses_what_the_family_cannot_do(toy: Toy) -> None:
    def change(**sampling: Any) -> Group:
        return toy.group(sampling=replace(toy.sampling, **sampling))

    with pytest.raises(ModelError, match=r"sampling.width = \d+: .* multiple of"):
        toy.generator.generate([change(width=toy.sampling.width + 1)])
    with pytest.raises(ModelError, match=r"sampling.frames = 3"):
        toy.generator.generate([change(frames=3)])
    with pytest.raises(ModelError, match="negative_prompt = 'blurry' has no effect"):
        toy.generator.generate([change(negative_prompt="blurry", guidance_scale=1.0)])
    least, most = toy.family.takes
    for wrong in ({least - 1, most + 1}) - {-1}:
        with pytest.raises(PromptError, match=r"each prompt needs|takes (no|at most \d+) input picture"):
            toy.generator.generate([toy.group(pictures=(picture(),) * wrong)])
    if most:
        with pytest.raises(PromptError, match="cannot be read"):
            toy.generator.generate([toy.group(pictures=(b"no picture",) * most)])
    with pytest.raises(PromptError, match="tokens longer"):
        toy.generator.generate([toy.group("star " * 300)])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("WanPipeline", "reads the text through cross-attention and never updates it"),
        ("SanaSprintPipeline", "cross-attention"),
        ("StableDiffusionXLPipeline", "is a U-Net"),
        ("Kandinsky5T2IPipeline", "its transformer reads the text through cross-attention"),
        ("ZImagePipeline", "is a single stream in which every sample's text has a length of its own"),
        ("PRXPipeline", "keys and values of the text"),
        ("HiDreamImagePipeline", "puts part of the text in anew before every block"),
        ("GlmImagePipeline", "has joint blocks, but nobody has written down its facts"),
        ("FluxFillPipeline", "of a family that runs here, but what it is given besides text"),
        ("StableDiffusion3Img2ImgPipeline", "the same weights as StableDiffusion3Pipeline, and give prompts a picture"),
        ("FluxInpaintPipeline", "the same weights as FluxPipeline, and give prompts a picture"),
        ("MarigoldDepthPipeline", "need an MM-DiT whose text stream is known here"),
    ],
)
def test_refuses_other_pipelines_with_their_reason(name: str, why: str) -> None:
    pipeline = getattr(diffusers, name)
    with pytest.raises(ModelError, match=f"^{name} is not supported: [^:]*{why}.*Supported: .*FluxPipeline"):
        family_of(pipeline.__new__(pipeline))


def test_every_reason_is_that_of_a_pipeline_which_is_not_run() -> None:
    pipelines = [name for name in dir(diffusers) if name.endswith("Pipeline")]
    run = {name for family in FAMILIES for name in family.pipelines}
    for beginning in REASONS:
        longer = tuple(other for other in REASONS if other.startswith(beginning) and other != beginning)
        meant = {name for name in pipelines if name.startswith(beginning) and not name.startswith(longer)}
        assert meant - run, beginning


@pytest.mark.parametrize(
    "transformer",
    ["WanTransformer3DModel", "LTXVideoTransformer3DModel", "SanaTransformer2DModel", "PRXTransformer2DModel"],
)
def test_blocks_of_models_that_never_update_their_text_do_not_give_it(transformer: str) -> None:
    """By the sources of their transformers, in which those of joint blocks show."""
    assert not _gives_text(transformer)
    assert _gives_text("CogVideoXTransformer3DModel")


def _gives_text(transformer: str) -> bool:
    file = inspect.getsourcefile(getattr(diffusers, transformer))
    assert file is not None
    both = r"return (hidden_states, encoder_hidden_states|encoder_hidden_states, hidden_states)"
    return re.search(both, Path(file).read_text()) is not None
