"""Edits of the embedded world: one attribute changes, the texts say so, and the oracle judges them exactly."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from jobs import measure_edits
from models.embedded import SAMPLING, WEIGHTS
from models.embedded.attributes import NAMES, labels_of
from models.embedded.captions import agreement, named_attributes
from models.embedded.edits import WorldEdit, edits, judge, pictures_of
from models.embedded.oracle import Oracle, Reading
from models.embedded.promptset import pairs
from models.embedded.world import Kind, Scene
from models.generator import Generator
from models.pictures import decoded
from models.spec import ModelSpec

RARE: tuple[tuple[Kind, bool], ...] = (("colour", False), ("texture", False), ("colour", True))


@pytest.fixture(scope="module", params=RARE, ids=["colour", "texture", "colour of one of two"])
def every(request: pytest.FixtureRequest) -> list[WorldEdit]:
    kind, two = request.param
    return [*edits(kind, "rare", two=two)]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


def seen(*scenes: Scene) -> Reading:
    """What the oracle says of pictures that show these scenes."""
    labels = np.stack([labels_of(scene) for scene in scenes])
    nothing = np.zeros((len(scenes), 1), np.float32)
    return Reading(labels=labels, confidence=nothing, features=nothing)


def test_every_pair_of_a_rarity_is_asked_for_once(every: list[WorldEdit]) -> None:
    kind: Kind = "texture" if every[0].attribute.startswith("texture") else "colour"
    assert [edit.concept for edit in every] == [f"{word} {shape}" for word, shape in pairs(kind, "rare")]
    for edit in every:
        word, shape = edit.concept.split(" ")
        assert edit.instruction == f"make the {shape} {word}"


def test_one_attribute_changes(every: list[WorldEdit]) -> None:
    for edit in every:
        differ = np.flatnonzero(labels_of(edit.source) != labels_of(edit.target))
        assert [NAMES[at] for at in differ] == [edit.attribute]


def test_the_prompt_describes_the_target_and_the_counterfactual_the_source(every: list[WorldEdit]) -> None:
    for edit in every:
        for text, scene in ((edit.prompt, edit.target), (edit.counterfactual, edit.source)):
            assert all(agreement(named_attributes(text), labels_of(scene)).values())
        assert edit.attribute in named_attributes(edit.prompt)
        assert not {"size", "position"} & {*named_attributes(edit.prompt)}


def test_the_picture_shows_the_source(every: list[WorldEdit], oracle: Oracle) -> None:
    judged = [judge(edit, oracle.read(np.asarray(decoded(edit.picture))[None])) for edit in every]
    assert sum(one.changed.sum() for one in judged) == 0
    assert np.mean([one.kept for one in judged]) > 0.99


def test_an_edit_is_exact_where_it_changes_what_it_should_and_nothing_else(every: list[WorldEdit]) -> None:
    edit = every[0]
    grass = "snow" if edit.source.background == "grass" else "grass"
    judged = judge(edit, seen(edit.target, edit.source, replace(edit.target, background=grass)))
    assert judged.changed.tolist() == [1.0, 0.0, 1.0]
    assert judged.kept[:2].tolist() == [1.0, 1.0]
    assert 0.5 < judged.kept[2] < 1.0
    assert judged.exact.tolist() == [1.0, 0.0, 0.0]


def test_the_embedded_model_edits(oracle: Oracle) -> None:
    generator = Generator(ModelSpec(path=str(WEIGHTS / "pipeline"), dtype="float32"))
    some = [*islice(edits("texture", "common"), 1, 3), *islice(edits("colour", "common", two=True), 3, 4)]
    sampling = replace(SAMPLING, steps=12, denoising_strength=0.85)
    made = pictures_of(generator, some, sampling, images=1)
    judged = [judge(edit, oracle.read(pixels)) for edit, pixels in zip(some, made, strict=True)]
    assert np.mean([one.changed for one in judged]) > 0.6
    assert np.mean([one.kept for one in judged]) > 0.8


def test_the_command_prints_a_row_for_each_strength(capsys: pytest.CaptureFixture[str]) -> None:
    """At so little strength every picture stays as it is."""
    assert measure_edits.main(["--limit", "1", "--images", "1", "--strengths", "0.05"]) == 0
    first, _, heading, _, stock, tora = capsys.readouterr().out.splitlines()
    assert first == "3 common, 3 rare, 2 unseen; 1 pictures of each"
    for row in (stock, tora):
        cells = dict(zip(heading.split(" | "), row.split(" | "), strict=True))
        assert cells["changed: rare"] == cells["exact |"].removesuffix(" |") == "0 [0, 0]"
        assert cells["kept"] == "100 [100, 100]"
