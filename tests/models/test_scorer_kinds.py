"""The kinds of scorers that look at images alone: an aesthetic head, and a classifier with a column for each label."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from transformers import ViTForImageClassification, ViTImageProcessor

from models.errors import ModelError
from models.scorers import registry
from models.scorers.base import ImageGroup, ScorerSpec
from models.scorers.clip import ClipScorer
from pipelines.config.scorers import FurtherScorer
from pipelines.stages.judge import Judge
from tests.support import tiny


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a classifier with random weights."""
    return tiny.save_classifier(tmp_path_factory.mktemp("classifier"))


def groups() -> list[ImageGroup]:
    """Of different sizes."""
    dice = np.random.default_rng(0)
    sides = ((2, 16, 16, 3), (3, 24, 8, 3))
    return [
        ImageGroup(pixels_BHWC=dice.integers(0, 256, side, np.uint8), prompt="a", counterfactual=None) for side in sides
    ]


def head(folder: Path, *sizes: int) -> tuple[str, list[tuple[Any, Any]]]:
    """A head whose layers lead from size to size, and its layers. The file has them by the alphabet: 10, 12, 8."""
    dice = np.random.default_rng(1)
    layers = [(dice.normal(size=(after, before)), dice.normal(size=after)) for before, after in pairwise(sizes)]
    named = {}
    for at, (weight, bias) in enumerate(layers):
        named[f"layers.{2 * at + 8}.weight"] = weight.astype(np.float32)
        named[f"layers.{2 * at + 8}.bias"] = bias.astype(np.float32)
    file = folder / f"head-{len(sizes)}.safetensors"
    save_file(named, file)
    return str(file), layers


def test_an_aesthetic_score_is_the_head_s_value_of_the_image_vector(tiny_clip: str, tmp_path: Path) -> None:
    file, layers = head(tmp_path, 16, 6, 4, 1)
    judged = Judge(ScorerSpec(kind="aesthetic", model=tiny_clip, options={"head": file}), "cpu")(groups())
    for group, found in zip(groups(), judged, strict=True):
        values = ClipScorer(tiny_clip).embed_images(group.pixels_BHWC)
        for weight, bias in layers:
            values = values @ weight.T + bias
        assert found.scores.score_B == pytest.approx(values[:, 0], abs=1e-5)
        assert np.ptp(values) > 1e-3
        assert (found.scores.margin_B, found.diversity) == (None, None)
    assert judged[0].model == f"{tiny_clip}+head-4.safetensors"


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((8, 1), "its layers lead from 8 to 1, which is not from the 16 values"),
        ((16, 2), "its layers lead from 16 to 2"),
    ],
)
def test_a_head_of_other_vectors_is_refused(tiny_clip: str, tmp_path: Path, sizes: tuple[int, ...], words: str) -> None:
    file, _ = head(tmp_path, *sizes)
    with pytest.raises(ModelError, match=words):
        Judge(ScorerSpec(kind="aesthetic", model=tiny_clip, options={"head": file}), "cpu")


def test_the_revision_follows_the_head(tiny_clip: str, tmp_path: Path) -> None:
    specs = [
        ScorerSpec(kind="aesthetic", model=tiny_clip, options={"head": head(tmp_path, *sizes)[0]})
        for sizes in ((16, 1), (16, 4, 1))
    ]
    first, second = (registry.entry_of("aesthetic").revision(spec) for spec in specs)
    assert first != second
    assert first.partition("+")[0] == second.partition("+")[0] != ""


def test_a_classifier_has_a_column_for_each_label(classifier: str) -> None:
    spec = ScorerSpec(kind="classifier", model=classifier, options={"labels": ["Not Safe", "normal"]})
    assert registry.columns_of(spec) == {
        "not_safe": "probability of the label `Not Safe`",
        "normal": "probability of the label `normal`",
    }
    judge = Judge(spec, "cpu")
    together = judge(groups())
    for group, judged in zip(groups(), together, strict=True):
        columns = judged.scores.columns
        assert judged.scores.score_B == pytest.approx(columns["not_safe"])
        assert columns["not_safe"] + columns["normal"] == pytest.approx(1.0, abs=1e-6)
        assert judge([group])[0].scores.score_B == pytest.approx(columns["not_safe"], abs=1e-6)
    assert np.ptp(np.concatenate([judged.scores.score_B for judged in together])) > 1e-3


def test_labels_that_are_no_alternatives_are_shares_of_their_own(classifier: str, tmp_path: Path) -> None:
    net = ViTForImageClassification.from_pretrained(classifier)
    net.config.problem_type = "multi_label_classification"
    net.save_pretrained(tmp_path)
    ViTImageProcessor.from_pretrained(classifier).save_pretrained(tmp_path)
    spec = ScorerSpec(kind="classifier", model=str(tmp_path), options={"labels": ["normal", "Not Safe"]})
    columns = Judge(spec, "cpu")(groups()[:1])[0].scores.columns
    assert not np.allclose(columns["normal"] + columns["not_safe"], 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "aesthetic"}, "options.head = None: needs a .safetensors file"),
        ({"kind": "aesthetic", "options": {"head": "head.pth"}}, "options.head = 'head.pth': needs .* converted once"),
        ({"kind": "aesthetic", "options": {"head": "gone.safetensors"}}, "there is no such file"),
        ({"kind": "aesthetic", "options": {"head": "hf-hub:a.safetensors"}}, "write hf-hub:OWNER/NAME/FILE"),
        ({"kind": "classifier", "options": {"labels": ["normal"]}, "model": ""}, "model = '' is out of range"),
        ({"kind": "classifier", "options": {"labels": ["norml"]}}, "has no label 'norml'; did you mean 'normal'"),
        ({"kind": "classifier", "options": {"labels": ["normal"]}, "model": "jobs"}, "config.json names no labels"),
    ],
)
def test_what_is_wrong_is_named_before_anything_loads(
    tiny_clip: str, classifier: str, settings: dict[str, Any], words: str
) -> None:
    model = tiny_clip if settings["kind"] == "aesthetic" else classifier
    spec = ScorerSpec(**{"model": model, **settings})
    with pytest.raises(ModelError, match=words):
        registry.entry_of(spec.kind).check(spec)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "options.labels = None: needs labels"),
        ([], "needs labels"),
        (["a b", "a-b"], "two of them would be columns of one name"),
        (["7"], "the column '7' needs a-z"),
    ],
)
def test_labels_that_give_no_columns_are_refused_with_the_config(labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FurtherScorer(name="safe", kind="classifier", model="x/y", options={} if labels is None else {"labels": labels})
