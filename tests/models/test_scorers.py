"""The registry of scorers, and open_clip as its first entry."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
from open_clip.tokenizer import HFTokenizer

from models.errors import ModelError
from models.scorers import open_clip_files, registry
from models.scorers.base import Entry, GroupScores, ImageGroup, ScorerSpec
from models.scorers.clip import SAME_TOKENS, ClipScorer
from models.scorers.clip_tokens import tokens_cut
from models.scorers.videos import consistency, of_videos
from pipelines.stages.judge import Judge
from tests.conftest import ROOT
from tests.support.light import ENTRY, LightScorer
from tests.support.toys.parts import t5_tokenizer


def groups() -> list[ImageGroup]:
    """Of different sizes, with and without a counterfactual."""
    dice = np.random.default_rng(0)
    return [
        ImageGroup(pixels_BHWC=dice.integers(0, 256, (2, 16, 16, 3), np.uint8), prompt="a star", counterfactual=None),
        ImageGroup(pixels_BHWC=dice.integers(0, 256, (3, 24, 8, 3), np.uint8), prompt="a sun", counterfactual="a star"),
    ]


def test_what_is_asked_of_a_kind_loads_no_library() -> None:
    code = (
        "import sys; from models.scorers import registry; from models.scorers.base import ScorerSpec; "
        "registry.entry_of('open_clip').check(ScorerSpec(model='ViT-B-32', pretrained='openai')); "
        "print({'torch', 'open_clip', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_kind_has_one_entry() -> None:
    registry.register("light", ENTRY)  # once more, as a module that is imported twice would
    assert registry.entry_of("light") is ENTRY
    for kind in ("light", "open_clip"):
        with pytest.raises(ValueError, match="already"):
            registry.register(kind, replace(ENTRY, options=()))
    with pytest.raises(ValueError, match="the column 'Too Light'"):
        registry.register("other", replace(ENTRY, columns={"Too Light": ""}))
    assert "other" not in registry.kinds()


def test_unknown_kinds_and_options_are_named() -> None:
    with pytest.raises(ValueError, match="kind = 'lihgt' is no known scorer; did you mean 'light'"):
        ScorerSpec(kind="lihgt")
    with pytest.raises(ValueError, match="no option 'wieght'; did you mean 'weight'"):
        ScorerSpec(kind="light", options={"wieght": 2})


def test_open_clip_scores_several_groups_as_it_does_each(tiny_clip: str) -> None:
    judge = Judge(ScorerSpec(model=tiny_clip), "cpu")
    together = judge(groups())
    for group, judged in zip(groups(), together, strict=True):
        (alone,) = judge([group])
        assert judged.scores.score_B == pytest.approx(alone.scores.score_B, abs=1e-6)
        assert judged.scores.features_BD == pytest.approx(alone.scores.features_BD, abs=1e-6)
        assert (judged.scores.margin_B is None) == (group.counterfactual is None)
        assert judged.diversity is not None
    assert together[1].scores.margin_B is not None
    assert np.array_equal(together[1].ranked_by_B, together[1].scores.margin_B)


def test_what_open_clip_does_not_read_is_counted(tiny_clip: str) -> None:
    """A counterfactual that differs only behind the 77 tokens has no margin, and the reason."""
    judge = Judge(ScorerSpec(model=tiny_clip), "cpu")
    first, second = groups()
    long = "x " * 90
    for counterfactual, margin, cut in (
        (long + "sun", False, {"prompt": 16, "counterfactual": 16}),
        ("sun " + long, True, {"prompt": 16, "counterfactual": 16}),
        ("a sun", True, {"prompt": 16, "counterfactual": 0}),
        (None, False, {"prompt": 16}),
    ):
        asked = replace(second, prompt=long + "star", counterfactual=counterfactual)
        (judged, beside) = judge([asked, first])
        columns = judged.columns()
        assert columns["clip_tokens_cut"] == [cut] * 3
        assert (judged.scores.margin_B is not None) == margin
        assert columns["clip_margin_missing"] == [SAME_TOKENS if counterfactual and not margin else None] * 3
        assert beside.columns()["clip_tokens_cut"] == [{"prompt": 0}] * 2
    (light,) = Judge(ScorerSpec(kind="light"), "cpu")([second])
    assert light.columns()["clip_tokens_cut"] == [None] * 3
    assert light.columns()["clip_margin_missing"] == ["scorers of the kind 'light' give none"] * 3


@pytest.mark.parametrize("mode", ["", "clips"])
def test_other_tokenizers_of_open_clip_are_counted_too(mode: str, tmp_path: Path) -> None:
    """With room for as many tokens more as are counted a text is read whole, and with room for one less it is not."""
    words = t5_tokenizer()
    words.cls_token = "c"
    words.save_pretrained(tmp_path)
    text, length = "a red star over the sea", 8
    tokenizer = HFTokenizer(str(tmp_path), context_length=length, tokenizer_mode=mode)

    def read(room: int) -> list[int]:
        ids = tokenizer(text, context_length=length + room)[0].tolist()
        return [token for token in ids if token != words.pad_token_id]

    cut = tokens_cut(tokenizer, text)
    assert cut > 0
    assert read(cut) == read(cut + 5) != read(cut - 1)


def test_what_open_clip_cannot_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    for spec, word in (
        (ScorerSpec(), "scoring.model = ''"),
        (ScorerSpec(model="ViT-B-23"), "scoring.model = 'ViT-B-23': open_clip has no such model; did you mean"),
        (ScorerSpec(model="local-dir:gone"), "there is no folder 'gone'"),
        (
            ScorerSpec(model="ViT-B-32", pretrained="opneai"),
            "'opneai': no file, and no tag of open_clip for 'ViT-B-32'; did",
        ),
        (
            ScorerSpec(model="ViT-L-14", pretrained="x"),
            "no tag of open_clip for 'ViT-L-14'; known: openai, laion400m_e31",
        ),
        (ScorerSpec(model="ViT-B-32", pretrained=f"{tmp_path}/notes.txt"), "notes.txt' cannot be loaded"),
    ):
        with pytest.raises(ModelError) as raised:
            Judge(spec, "cpu")
        assert word in str(raised.value)


def test_a_model_without_weights_scores_nothing(tiny_clip: str, tmp_path: Path) -> None:
    """open_clip itself would take random ones and go on."""
    (tmp_path / "open_clip_config.json").write_bytes(
        Path(tiny_clip.removeprefix("local-dir:"), "open_clip_config.json").read_bytes()
    )
    for model, words in (
        ("ViT-B-32", "scoring.pretrained = ''.*openai.*laion2b_s34b_b79k"),
        ("ViT-B/32", "scoring.pretrained = ''.*openai"),
        ("roberta-ViT-B-32", "scoring.pretrained = ''.*laion2b_s12b_b32k"),
        (f"local-dir:{tmp_path}", "the folder holds no weights"),
    ):
        with pytest.raises(ModelError, match=words):
            Judge(ScorerSpec(model=model), "cpu")
    with pytest.raises(ModelError, match="cannot be loaded by open_clip"):
        ClipScorer(f"local-dir:{tmp_path}")


def test_the_tags_are_open_clip_s_own() -> None:
    for model in open_clip.list_models():
        assert open_clip_files.tags(model) == open_clip.list_pretrained_tags_by_model(model)
    assert open_clip_files.models() == sorted(open_clip.list_models())


class Wrong(LightScorer):
    """A scorer that does not keep its word."""

    def __init__(self, change: dict[str, object]) -> None:
        super().__init__(1.0)
        self._change = change

    def score(self, groups: object) -> list[GroupScores]:
        return [replace(scores, **self._change) for scores in super().score(groups)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"score_B": np.zeros(3, np.float32)}, r"score_B has the shape \(3,\), not \(2,\)"),
        ({"margin_B": np.zeros((2, 2), np.float32)}, "margin_B has the shape"),
        ({"columns": {}}, r"its columns are \[\], declared are \['contrast'\]"),
        ({"features_BD": np.zeros((2, 4), np.float32)}, "features_BD does not have the shape None"),
    ],
)
def test_a_scorer_is_held_to_its_word(monkeypatch: pytest.MonkeyPatch, change: dict[str, object], word: str) -> None:
    def opened(spec: ScorerSpec, device: str) -> Wrong:
        return Wrong(change)

    wrong = Entry(open=opened, vectors=False, columns=ENTRY.columns)
    monkeypatch.setitem(registry._registered, "wrong", wrong)
    with pytest.raises(ModelError, match=f"scorer 'wrong': {word}"):
        Judge(ScorerSpec(kind="wrong"), "cpu")(groups()[:1])


def test_vectors_are_what_the_entry_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, "wrong", replace(ENTRY, vectors=True))
    with pytest.raises(ModelError, match="vectors = True, but dim = None"):
        registry.open_scorer(ScorerSpec(kind="wrong"), "cpu")


def test_a_video_s_scores_are_those_of_its_frames_taken_together() -> None:
    vectors_ND = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    scores = GroupScores(
        score_B=np.array([1, 3, 5, 5], np.float32),
        margin_B=np.array([0, 1, 2, 4], np.float32),
        features_BD=vectors_ND,
        columns={"nsfw": np.array([0, 0.9, 0.1, 0.2], np.float32)},
        answers=[{"a star?": share} for share in (0.0, 1.0, 0.5, 0.5)],
    )
    mean, most = (of_videos(scores, 2, over) for over in ("mean", "max"))
    assert mean.margin_B is not None
    assert mean.features_BD is not None
    assert (mean.score_B.tolist(), mean.margin_B.tolist()) == ([2, 5], [0.5, 3])
    assert mean.features_BD == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [1, 0]]))
    assert (mean.answers, most.answers) == ([{"a star?": 0.5}] * 2, [{"a star?": 1.0}, {"a star?": 0.5}])
    assert mean.columns["nsfw"] == pytest.approx(np.array([0.45, 0.15]))
    assert most.columns["nsfw"] == pytest.approx(np.array([0.9, 0.2]))  # one frame is enough for a filter
    assert registry.entry_of("classifier").over_frames == "max"
    over_time = consistency(vectors_ND, 2)
    assert over_time is not None
    assert over_time.tolist() == [0, 1]
    assert consistency(vectors_ND, 1) is None
    assert of_videos(scores, 1, "mean") is scores
