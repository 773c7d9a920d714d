"""LoRAs are loaded once and switched from group to group. Needs the package peft."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ModelError
from models.generator import Generator
from models.interventions.lora_interval import LoraIntervalConfig
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.loading.revision import content_revision
from models.spec import Group, Lora, ModelSpec, Sampling
from tests.support import loras

pytest.importorskip("peft")

GROUP = Group(
    prompt="a red star",
    seeds=(11, 12),
    sampling=Sampling(steps=2, guidance_scale=3.0, width=16, height=16, max_sequence_length=16),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lora, Lora]:
    folder = tmp_path_factory.mktemp("loras")
    first, second = (loras.save(folder / f"{name}.safetensors", seed=at) for at, name in enumerate(("ink", "clay")))
    return loras.lora(first), loras.lora(folder, name="clay", weight_name=second.name, scale=0.5)


@pytest.fixture(scope="module")
def generator(tiny_pipeline: str, pair: tuple[Lora, Lora]) -> Generator:
    return Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", loras=pair))


def drawn(generator: Generator, *acting: Lora) -> NDArray[np.uint8]:
    return generator.generate([replace(GROUP, loras=acting)])[0]


def test_without_any_it_is_the_model_itself(generator: Generator, tiny_pipeline: str, pair: tuple[Lora, Lora]) -> None:
    bare = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu")).generate([GROUP])[0]
    assert np.array_equal(drawn(generator), bare)
    assert np.array_equal(drawn(generator, replace(pair[0], scale=0.0)), bare)
    assert not np.array_equal(drawn(generator, *pair), bare)
    assert np.array_equal(drawn(generator), bare)


def test_nothing_is_said_of_parts_that_a_lora_leaves_alone(tiny_pipeline: str, pair: tuple[Lora, Lora]) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("diffusers")
    log.addHandler(handler)
    try:
        Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", loras=pair))
    finally:
        log.removeHandler(handler)
    assert not [line for line in said if "LoRA" in line]


def test_a_group_that_says_none_gets_all_of_them(generator: Generator, pair: tuple[Lora, Lora]) -> None:
    assert np.array_equal(generator.generate([GROUP])[0], drawn(generator, *pair))


def test_each_one_and_each_scale_makes_other_pictures(generator: Generator, pair: tuple[Lora, Lora]) -> None:
    ink, clay = pair
    sets = [(), (ink,), (replace(ink, scale=0.5),), (clay,), (ink, clay)]
    first = [drawn(generator, *acting).tobytes() for acting in sets]
    assert len({*first}) == len(sets)
    assert [drawn(generator, *acting).tobytes() for acting in sets[::-1]] == first[::-1]


def test_groups_with_others_do_not_share_a_batch(generator: Generator, pair: tuple[Lora, Lora]) -> None:
    with pytest.raises(ModelError, match=r"LoRAs .* cannot share a denoising batch"):
        generator.generate([replace(GROUP, loras=()), replace(GROUP, loras=pair)])


def test_interventions_act_on_them(generator: Generator, pair: tuple[Lora, Lora]) -> None:
    both = replace(GROUP, loras=pair[:1], interventions=(ToraConfig(sigma=4.0), RepulsionConfig(strength=3.0)))
    assert not np.array_equal(generator.generate([both])[0], drawn(generator, pair[0]))
    assert not np.array_equal(generator.generate([both])[0], generator.generate([replace(both, loras=())])[0])


def test_they_act_in_some_steps_alone(generator: Generator, pair: tuple[Lora, Lora]) -> None:
    def made(*steps: float, acting: tuple[Lora, ...] = pair) -> NDArray[np.uint8]:
        interval = LoraIntervalConfig(steps=(steps[0], steps[1]))
        return generator.generate([replace(GROUP, loras=acting, interventions=(interval,))])[0]

    every, none = drawn(generator, *pair), drawn(generator)
    assert np.array_equal(made(0.0, 1.0), every)
    late = made(0.5, 1.0)
    assert not np.array_equal(late, every)
    assert not np.array_equal(late, none)
    assert not np.array_equal(late, made(0.0, 0.5))
    # A run that ends in the middle of a step without them leaves no trace either.
    nowhere = replace(GROUP, loras=pair, interventions=(LoraIntervalConfig(steps=(0.5, 1.0)),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator.transformer.proj_out, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generator.generate([nowhere])
    assert np.array_equal(drawn(generator, *pair), every)
    with pytest.raises(ModelError, match="lora_interval has nothing to leave out"):
        made(0.5, 1.0, acting=())


def test_texts_are_encoded_anew_by_a_lora_of_a_text_encoder(tiny_pipeline: str, tmp_path: Path) -> None:
    words = loras.lora(loras.save(tmp_path / "words.safetensors", seed=0, part="text_encoder"))
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", loras=(words,)))
    bare = drawn(generator)
    assert not np.array_equal(drawn(generator, words), bare)
    assert np.array_equal(drawn(generator), bare)


def test_the_alpha_of_a_file_is_a_factor(tiny_pipeline: str, tmp_path: Path) -> None:
    plain = loras.lora(loras.save(tmp_path / "plain.safetensors", seed=0))
    doubled = loras.lora(loras.save(tmp_path / "doubled.safetensors", seed=0, alpha=4.0))
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", loras=(plain, doubled)))
    assert np.array_equal(drawn(generator, doubled), drawn(generator, replace(plain, scale=2.0)))
    assert not np.array_equal(drawn(generator, doubled), drawn(generator, plain))


def test_they_are_loaded_over_narrow_weights(tiny_pipeline: str, pair: tuple[Lora, Lora]) -> None:
    narrow = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", weights="float8", loras=pair))
    bare = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", weights="float8"))
    assert np.array_equal(drawn(narrow), bare.generate([GROUP])[0])
    assert not np.array_equal(drawn(narrow, *pair), drawn(narrow))


def test_what_does_not_fit_is_named(
    generator: Generator, tiny_pipeline: str, pair: tuple[Lora, Lora], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"the LoRA 'oil' was not loaded with the model \(loaded: ink, clay\)"):
        drawn(generator, Lora(name="oil", path="owner/oil"))
    other = loras.lora(loras.save(tmp_path / "other.safetensors", seed=0, part="unet"))
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    moved = replace(pair[0], revision="content-0")
    for lora, words in (
        (other, r"other\.safetensors' holds nothing for a StableDiffusion3Pipeline"),
        (loras.lora(tmp_path / "broken.safetensors"), "cannot be loaded as a LoRA"),
        (moved, f"holds {content_revision(Path(moved.path))} here, but the run was planned with content-0"),
    ):
        with pytest.raises(ModelError, match=words):
            Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu", loras=(lora,)))
