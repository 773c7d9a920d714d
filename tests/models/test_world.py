"""The procedural world: tables, scenes, captions and pictures agree with one another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.embedded import world
from models.embedded.attributes import HEADS, labels_of, scene_of
from models.embedded.captions import CaptionStyle, agreement, caption, named_attributes
from models.embedded.described import described, expanded
from models.embedded.pictures import groups_of
from models.embedded.promptset import pairs, relation_prompts, single_prompts
from models.embedded.render import render
from models.embedded.world import Kind
from models.spec import Group, Sampling

EVERYTHING = CaptionStyle(keep_shape=1, keep_colour=1, keep_texture=1, keep_size=1, keep_position=1, keep_background=1)


@given(st.integers(0, 2**32), st.booleans())
def test_captions_tell_what_scenes_show(seed: int, balanced: bool) -> None:
    rng = np.random.default_rng(seed)
    scene = world.sample_scene(rng, balanced=balanced)
    labels = labels_of(scene)
    assert scene_of(labels) == scene
    full = named_attributes(caption(scene, rng, EVERYTHING))
    assert len(full) == (6 if scene.arrangement == "single" else 8) + (scene.arrangement == "single")
    for style in (EVERYTHING, CaptionStyle()):
        assert all(agreement(named_attributes(caption(scene, rng, style)), labels).values())


def test_noise_makes_captions_lie() -> None:
    rng = np.random.default_rng(0)
    right = []
    for _ in range(300):
        scene = world.sample_scene(rng)
        named = named_attributes(caption(scene, rng, CaptionStyle(noise=0.5)))
        right += [ok for name, ok in agreement(named, labels_of(scene)).items() if name.startswith(("col", "tex"))]
    assert 0.5 < float(np.mean(right)) < 0.75


@pytest.mark.parametrize("text", ["a hairy frog", "star", "a red", "a star left of nothing"])
def test_other_prompts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="grammar"):
        named_attributes(text)


def test_the_world_is_long_tailed() -> None:
    for table in (world.COLOUR_GIVEN_SHAPE, world.TEXTURE_GIVEN_SHAPE):
        np.testing.assert_allclose(table.sum(axis=1), 1.0)
        assert (np.sort(table, axis=1)[:, -1] > 0.4).all()
    kinds: tuple[Kind, ...] = ("colour", "texture")
    for kind in kinds:
        assert len(pairs(kind, "rare")) >= 12
        typical = {world.most_typical(shape, kind) for shape in world.SHAPES}
        assert typical == set(world.COLOURS if kind == "colour" else world.TEXTURES)
    assert len(pairs("colour", "unseen")) == 12
    expected = 120_000 * 1.4 / 12 * world.COLOUR_PROBABILITY_BY_RANK[6]
    assert 2 < expected < 12  # "seen a handful of times"


def test_prompts_know_their_counterfactual() -> None:
    prompts = [*single_prompts("colour", "rare"), *relation_prompts("texture", "rare", seed=0)]
    for prompt in prompts:
        assert prompt.counterfactual is not None
        named, other = named_attributes(prompt.prompt), named_attributes(prompt.counterfactual)
        assert sum(named[key] != other[key] for key in named) == 1
        assert all(word in prompt.prompt for word in prompt.concept.split())


def test_more_companions_leave_the_first_ones_as_they_are() -> None:
    one = [prompt.prompt for prompt in relation_prompts("colour", "unseen", seed=5)]
    four = [*relation_prompts("colour", "unseen", seed=5, each=4)]
    assert [prompt.prompt for prompt in four[::4]] == one
    assert len({prompt.prompt for prompt in four}) == 48
    assert [prompt.concept for prompt in four[:4]] == [four[0].concept] * 4


def test_what_a_prompt_leaves_open_is_drawn_as_in_the_world() -> None:
    rng = np.random.default_rng(0)

    def colours(prompt: str, *, balanced: bool = False) -> Counter[str]:
        return Counter(described(prompt, rng, balanced=balanced).things[0].colour for _ in range(400))

    typical = world.most_typical("star", "colour")
    assert 150 < colours("a star")[typical] < 240  # 48 %
    assert 25 < colours("a star", balanced=True)[typical] < 80  # an eighth
    assert colours("a pink star") == {"pink": 400}
    shapes = Counter(described("a red thing", rng).things[0].shape for _ in range(400))
    likely = world.COLOUR_GIVEN_SHAPE[:, world.COLOURS.index("red")]
    for shape, share in zip(world.SHAPES, likely / likely.sum(), strict=True):
        assert abs(shapes[shape] / 400 - share) < 0.1


def test_an_expanded_prompt_says_everything_and_keeps_what_was_said() -> None:
    for prompt in ("a star", "a red thing on snow", "a pink heart left of a ring"):
        named = named_attributes(prompt)
        full = named_attributes(expanded(prompt, np.random.default_rng(1), balanced=True))
        assert full | named == full
        assert len(full) == (7 if full["arrangement"] == "single" else 8)


def test_every_picture_of_a_prompt_has_a_longer_text_of_its_own() -> None:
    sampling = Sampling()
    first, second = groups_of("a pink heart", (1, 2), "uniform", sampling=sampling)
    assert (first.seeds, second.seeds) == ((1,), (2,))
    assert first.prompt != second.prompt
    assert [first] == groups_of("a pink heart", (1,), "uniform", sampling=sampling)
    whole = [Group(prompt="a pink heart", seeds=(1, 2), sampling=sampling)]
    assert groups_of("a pink heart", (1, 2), "none", sampling=sampling) == whole


def test_pictures_repeat_and_differ() -> None:
    scene = world.sample_scene(np.random.default_rng(3))
    first = render(scene, np.random.default_rng(1))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, render(scene, np.random.default_rng(1)))
    assert not np.array_equal(first, render(scene, np.random.default_rng(2)))


@pytest.mark.parametrize("name", ["shape_0", "colour_0", "texture_0", "background", "size", "position"])
def test_every_attribute_shows(name: str) -> None:
    """Changing one attribute changes many pixels, whichever words are swapped."""
    base = labels_of(
        world.Scene(
            arrangement="single",
            things=(world.Thing(shape="circle", colour="red", texture="plain"),),
            background="snow",
            size="medium",
            position="center",
        )
    )
    pictures = []
    for index in range(len(HEADS[name])):
        labels = base.copy()
        labels[list(HEADS).index(name)] = index
        pictures.append(render(scene_of(labels), np.random.default_rng(0)).astype(int))
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert (np.abs(a - b).max(axis=-1) > 25).sum() > 40
