"""What an evaluation compares and how it counts, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.embedded.attributes import NAMES, Labels, labels_of
from models.embedded.oracle import Reading
from models.embedded.world import Scene, Thing
from models.interventions.repulsion.config import RepulsionConfig
from models.spec import ModelSpec, Sampling
from models.statistics import bootstrap, simultaneous
from pipelines.config.arms import loras_of
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.evaluation.arm_files import ArmFiles, Made
from pipelines.evaluation.config import Arm, EvaluationConfig, Prompts, load
from pipelines.evaluation.keep import kept
from pipelines.evaluation.prompts import PromptSet, in_half, prompt_sets, thinned
from pipelines.evaluation.values import values_of


def test_prompts_are_thinned_evenly() -> None:
    assert thinned(list(range(10)), 3) == [0, 4, 9]


def test_halves_share_no_concept_and_divide_every_set() -> None:
    def sets(half: Any) -> list[PromptSet]:
        chosen_on = "others" if half == "report" else ""
        return prompt_sets(Prompts(per_set=0, companions=2, wide_group=16, half=half, chosen_on=chosen_on))

    for every, one, other in zip(sets("all"), sets("choose"), sets("report"), strict=True):
        assert {*every.prompts} == {*one.prompts} | {*other.prompts}
        assert not {*one.concepts} & {*other.concepts}
        assert len(one.prompts) == len(other.prompts)
    single, relation = sets("choose")[:2]
    assert {*relation.concepts} < {*single.concepts}  # textures are in no relation
    assert len({*in_half(["a", "b", "c"], "choose")}) == 2


def test_a_set_of_48_has_several_companions_of_a_pair_where_there_are_fewer() -> None:
    sets = {one.name: one for one in prompt_sets(Prompts(per_set=48, companions=4, wide_group=16))}
    counts = {name: (len(one.prompts), len({*one.concepts}), one.images) for name, one in sets.items()}
    assert counts == {
        "common, single": (48, 48, 4),
        "common, relation": (48, 36, 4),
        "rare, single": (36, 36, 4),
        "rare, relation": (48, 24, 4),
        "unseen, single": (12, 12, 4),
        "unseen, relation": (48, 12, 4),
        "open, single": (26, 26, 4),
        "open, wide": (26, 26, 16),
    }


def test_words_on_what_settings_were_chosen_on_belong_to_the_half_that_reports() -> None:
    for half, said in (("report", ""), ("all", "others"), ("choose", "others")):
        rule = "needs words on" if half == "report" else "says nothing of it; leave it out"
        with pytest.raises(ValueError, match=f"half = .{half}. {rule}"):
            Prompts(half=half, chosen_on=said)  # type: ignore[arg-type]


def test_arms_name_loras_as_those_of_a_run_do(tmp_path: Path) -> None:
    def arms(loras: str) -> Any:
        file = tmp_path / "e.toml"
        model = '[model]\npath = "m"\n[[model.loras]]\nname = "ink"\npath = "ink"\nscale = 0.5\n'
        both = f'[[arms]]\nname = "all"\n[[arms]]\nname = "own"\nloras = {loras}\n'
        file.write_text(f'output = "out"\noracle = "o"\n{model}{both}')
        read = load(file)
        return [(arm.settings().get("loras"), [one.scale for one in loras_of(arm, read.model)]) for arm in read.arms]

    assert arms('["ink"]') == [(None, [0.5]), (["ink"], [0.5])]
    assert arms('[{ name = "ink", scale = 0.25 }]')[1] == ([{"name": "ink", "scale": 0.25}], [0.25])
    assert arms("[]")[1] == ([], [])
    with pytest.raises(UserError, match="needs names of"):
        arms('["oil"]')


def test_a_concept_is_one_unit_over_its_prompts_and_seeds() -> None:
    red, blue = _labels("red"), _labels("blue")
    prompts = ("a red star", "a red star on snow", "a blue star")
    own = PromptSet(rarity="rare", kind="single", prompts=prompts, concepts=("red", "red", "blue"), images=2)
    of_seeds = [[[red, blue], [red, red], [blue, blue]], [[blue, blue], [red, red], [red, red]]]
    made = [Made(readings=[_reading(labels) for labels in seed], passes=1.0) for seed in of_seeds]
    values = values_of([own], {own.name: made})["right: rare"]
    assert [part.tolist() for part in values.clusters()] == [[1, 0, 1, 1, 0, 0, 1, 1], [1, 1, 0, 0]]
    assert values.mean_of_each_seed() == pytest.approx([5 / 6, 2 / 6])
    assert [part.tolist() for part in (values - values).clusters()] == [[0] * 8, [0] * 4]


def test_intervals_of_many_arms_hold_together() -> None:
    """Of 10 arms that change nothing one often looks significant alone, and rarely so together."""
    rng = np.random.default_rng(0)
    alone = together = 0
    for _ in range(100):
        arms = [[rng.normal(size=3) for _ in range(40)] for _ in range(10)]
        estimates = [bootstrap(arm) for arm in arms]
        alone += any(one.low > 0 or one.high < 0 for one in estimates)
        together += any(one.low > 0 or one.high < 0 for one in simultaneous(arms))
    assert alone > 25
    assert together < 12
    one = simultaneous([arms[0]])[0]
    assert one.high - one.low == pytest.approx(estimates[0].high - estimates[0].low, rel=0.15)
    assert simultaneous([[np.zeros(2)] * 3])[0].high == 0.0


def test_kept_pictures_fit_and_differ() -> None:
    features = np.array([[1, 0], [1, 0], [0.8, 0.6], [0, 1]], np.float32)
    assert kept(np.array([0.9, 0.8, 0.7, 0.0], np.float32), features, 2) == [0, 3]
    assert kept(np.array([0.9, 0.8, 0.7, -9.0], np.float32), features, 2) == [0, 2]
    assert kept(np.zeros(4, np.float32), features, 4) == [0, 1, 2, 3]


def test_longer_texts_are_not_pushed_apart() -> None:
    with pytest.raises(ValueError, match=r"expand = 'typical'.*\['repulsion'\] act on pictures of the same text"):
        Arm(name="both", expand="typical", interventions=(RepulsionConfig(),))


def _labels(colour: str) -> Labels:
    thing = Thing(shape="star", colour=colour, texture="plain")
    return labels_of(Scene(arrangement="single", things=(thing,), background="snow", size="small", position="left"))


def _reading(labels: Sequence[Labels]) -> Reading:
    n = len(labels)
    return Reading(
        labels=np.stack(labels),
        confidence=np.ones((n, len(NAMES)), np.float32),
        features=np.ones((n, 3), np.float32),
    )


def test_a_scorer_that_chooses_pictures_is_in_the_name_of_their_file(tmp_path: Path) -> None:
    def name(scorer: str, times: int) -> str:
        arm = Arm(name="a", draw_times=times)
        config = EvaluationConfig(
            output=str(tmp_path),
            model=ModelSpec(path="m"),
            oracle="o",
            scorer=scorer,
            sampling=Sampling(),
            arms=(arm,),
        )
        prompts = prompt_sets(Prompts(per_set=2))[0]
        return ArmFiles(config=config, output=Storage.open(str(tmp_path)), revision="r").name(arm, prompts, 0)

    assert name("one", 2) != name("other", 2)
    assert name("one", 1) == name("other", 1)


def _arms(folder: Path, text: str) -> EvaluationConfig:
    """An evaluation with these arms after a first one."""
    file = folder / "e.toml"
    file.write_text(
        f'output = "out"\noracle = "o"\n[model]\npath = "m"\ndtype = "float32"\n[[arms]]\nname = "first"\n{text}'
    )
    return load(file)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("", "0f1d514db82549d7"),
        ("guidance_scale = 2.0", "66830840a1de9429"),
        ("sampling = { steps = 2, sigmas = [1.0, 0.5] }", "f80453148b76386a"),
        ('sampling = { negative_prompt = "a dog", guidance_scale = 7.5 }', "4bfccc13f0c568b9"),
        ("sampling = { sigmas = [] }", "214c13cd8a49e299"),
    ],
)
def test_pictures_that_were_made_before_are_found_again(said: str, name: str, tmp_path: Path) -> None:
    config = _arms(tmp_path, f'[[arms]]\nname = "a"\n{said}')
    files = ArmFiles(config=config, output=Storage.open(str(tmp_path)), revision="r")
    prompts = PromptSet(rarity="rare", kind="single", prompts=("a star",), concepts=("star",), images=2)
    assert files.name(config.arms[1], prompts, 0) == f"arms/{name}.npz"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            "guidance_scale = 2.0\nsampling = { guidance_scale = 4.0 }",
            r"guidance_scale = 2.0: sampling.guidance_scale = 4.0 says it too; leave one of them out",
        ),
        ("sampling = { stpes = 2 }", r"\[arms\[1\].sampling\]: unknown key 'stpes'; did you mean 'steps'"),
        ("sampling = { steps = 0 }", r"arms.a.sampling: steps = 0"),
    ],
)
def test_what_an_arm_says_of_sampling_is_checked(said: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=error):
        _arms(tmp_path, f'[[arms]]\nname = "a"\n{said}')
