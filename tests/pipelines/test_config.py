"""Settings: read from TOML, checked and overridden."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from models.checkpoints import CHECKPOINTS
from models.interventions.dave import DAVE, DaveConfig
from models.interventions.registry import _REGISTERED
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import Sampling
from pipelines.config.fingerprint import fingerprint
from pipelines.config.load import build, load
from pipelines.errors import UserError
from tests.conftest import ROOT, Configure

CONFIGS = [
    path
    for path in sorted((ROOT / "jobs" / "configs").glob("*.toml"))
    if not path.name.startswith(("evaluate_", "evidence", "downstream"))  # experiments have settings of their own
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load(path: Path) -> None:
    settings = load(path)
    # One folder for each config, so that trying a second one does not collide with the first.
    assert settings.run.output in (f"out/{path.stem}", f"s3://bucket/runs/{path.stem}")


def test_defaults_are_both_interventions(toml: Path) -> None:
    settings = load(toml)
    assert [arm.interventions for arm in settings.arms] == [(ToraConfig(), RepulsionConfig())]


def test_overrides_reach_every_depth(toml: Path) -> None:
    settings = load(
        toml,
        [
            "sampling.steps=8",
            "prompts.columns.prompt=Prompt",
            'prompts.path=["a.txt", "b.txt"]',
            "repulsion.steps=[0, 0.5]",
            "tora.sigma=2",
            'arms=[{name="off"}, {name="tora", tora=true}]',
            "run.output=s3://bucket/a=b",
        ],
    )
    assert settings.sampling.steps == 8
    assert settings.prompts.columns.prompt == "Prompt"
    assert settings.prompts.paths == ("a.txt", "b.txt")
    assert settings.interventions["repulsion"] == RepulsionConfig(steps=(0.0, 0.5))
    (tora,) = settings.arms[1].interventions
    assert tora == ToraConfig(sigma=2.0)
    assert isinstance(asdict(tora)["sigma"], float)
    assert settings.arms[0].interventions == ()
    assert settings.run.output == "s3://bucket/a=b"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sampling.stpes=8", ["[sampling]", "'stpes'", "did you mean 'steps'"]),
        ("samplng.steps=8", ["'samplng'", "did you mean 'sampling'"]),
        ("arms=[{name='a', toar=true}]", ["arms[0]", "'toar'", "did you mean 'tora'"]),
        ("sampling.steps=0", ["[sampling]", "steps = 0", "1 to 1000"]),
        ("sampling.steps=2.5", ["sampling.steps = 2.5", "whole number"]),
        ("sampling.steps=true", ["sampling.steps = true", "whole number"]),
        ("sampling.steps=eight", ["sampling.steps = 'eight'", "whole number"]),
        ("tora.sigma=99", ["[tora]", "sigma = 99.0"]),
        ("tora.branch=none", ["tora.branch = 'none'", "'cond', 'both'"]),
        ("tora.encoders=split", ["tora.encoders = 'split'", "'together', 'apart'"]),
        ("repulsion.steps=[0.5]", ["repulsion.steps", "2 values"]),
        ("repulsion.steps=[0.5, 0.2]", ["[repulsion]", "start < stop"]),
        ("group.size=0", ["[group]", "size = 0"]),
        ("arms=[]", ["arms"]),
        ("arms=[{name='a'}, {name='a'}]", ["each name once"]),
        ("arms=[{tora=true}]", ["arms[0]", "'name' is missing"]),
        ("arms=[{name='a', tora='yes'}]", ["arms[0].tora = 'yes'", "true, false or a table"]),
        ("arms=[{name='a', tora={sigma=99}}]", ["[arms[0].tora]", "sigma = 99.0"]),
        ("arms=[{name='a', sampling={stpes=2}}]", ["[arms[0].sampling]", "'stpes'", "did you mean 'steps'"]),
        ("arms=[{name='a', sampling={steps=0}}]", ["arms.a.sampling: steps = 0", "1 to 1000"]),
        (
            "arms=[{name='a', sampling={sigmas=[1, 0.5]}}]",
            ["arms.a.sampling: sigmas = (1.0, 0.5)", "as many noise levels"],
        ),
        ("arms=[{name='a', sampling={width=64}}]", ["[arms[0].sampling]", "unknown key 'width'"]),
        ("arms=[{name='a', dave={wieght=1}}]", ["[arms[0].dave]", "'wieght'", "did you mean 'weight'"]),
        ("run.plugins='x'", ["run.plugins = 'x'", "array of module names"]),
        ("prompts.format=xml", ["prompts.format = 'xml'", "'jsonl'"]),
        ("prompts=3", ["prompts = 3", "table"]),
        ("run.output.x=3", ["'output' is not a table"]),
        ("sampling", ["key.sub=value"]),
        ("run.output=2024-11-26", ["run.output = 2024-11-26:", "must be text", """--set run.output='"2024-11-26"'"""]),
        ("run.output=2024-11-26T10:00:00Z", ["run.output = 2024-11-26T10:00:00+00:00: must be text"]),
        ("run.name=10:30:00", ["run.name = 10:30:00: must be text"]),
        ("run.name=7", ["run.name = 7: must be text", '"7"']),
        ("run.name=0.5", ["run.name = 0.5: must be text"]),
        ("run.name=inf", ["run.name = inf: must be text"]),
        ("run.name=true", ["run.name = true: must be text", '"true"']),
        ("run.name=[1, true]", ["run.name = [1, true]: must be text"]),
        ("run.name={a=2024-11-26}", ["run.name = {a = 2024-11-26}: must be text"]),
        ("prompts.path=2024-11-26", ["prompts.path = 2024-11-26: must be text"]),
        ("prompts.columns.prompt=7", ["prompts.columns.prompt = 7: must be text"]),
        ("sampling.steps=2024-11-26", ["sampling.steps = 2024-11-26: must be a whole number"]),
        ("arms=2024-11-26", ["arms = 2024-11-26: must be an array of tables"]),
        ("run.name=\udcff", ["not UTF-8"]),
        ("selection.duplicate_similarity=0.0", ["[selection]", "duplicate_similarity = 0.0"]),
        ("ray.object_store_mb=1", ["[ray]", "object_store_mb = 1"]),
        ("model.dtype=half", ["model.dtype = 'half'", "'auto', 'float32'"]),
        (
            "model.scheduler=UniPCMultistep",
            ["[model]", "scheduler = 'UniPCMultistep'", "did you mean 'UniPCMultistepScheduler'?"],
        ),
        ("model.scheduler=FlowMatchLCMScheduler", ["draws no noise of its own, which no seed of a row would say"]),
        ("model.quantize=[{part='transformer', method='nf4'}]", ["model.quantize[0].method = 'nf4'", "'torchao-int8'"]),
        ("model.shift=-1", ["[model]", "shift = -1.0"]),
        ("model.drop=text_encoder_3", ["model.drop = 'text_encoder_3'", "an array"]),
        ("scoring.kind=openclip", ["[scoring]", "kind = 'openclip'", "did you mean 'open_clip'?"]),
        ("scoring.options=3", ["scoring.options = 3", "a table"]),
        ("scoring.options.at=2026-01-01", ["scoring.options.at", "text, a number"]),
        ("scoring.options.temperature=2", ["[scoring]", "open_clip has no option 'temperature'; known: none"]),
        ("scorers=[{name='B-32', model='ViT-B-32'}]", ["scorers[0]", "name = 'B-32'", "a-z"]),
        ("scorers=[{model='ViT-B-32'}]", ["scorers[0]", "'name' is missing"]),
        ("scorers=[{name='b', kind='clip'}]", ["scorers[0]", "kind = 'clip'", "open_clip"]),
        ("scorers=[{name='b'}, {name='b'}]", ["scorers", "two columns of one name", "b_clip_score"]),
        ("selection.limits=[{column='keep', above=1}]", ["selection.limits.column = 'keep'", "clip_score"]),
        ("selection.limits=[{column='clip_score'}]", ["[selection.limits[0]]", "a number for above or for below"]),
        ("selection.limits=[{column='clip_score', above=0, below=1}]", ["above = 0.0", "at least below = 1.0"]),
        ("selection.accept='clip_scor > 0.2'", ["selection.accept", "'clip_scor'", "did you mean 'clip_score'?"]),
        ("selection.accept='keep'", ["[selection]", "accept = 'keep'", "needs a comparison"]),
        ("selection.accept='clip_score >'", ["[selection]", "accept: it is no expression"]),
        ("scorers=[{name='n', kind='classifier', model='a/b'}]", ["[scorers[0]]", "options.labels = None"]),
        ("selection.rank_by=b32", ["selection.rank_by = 'b32'", "[[scorers]] (there: none)"]),
    ],
)
def test_what_is_wrong_is_named(toml: Path, override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        load(toml, [override])
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_compiled_blocks_and_replicas_of_several_gpus_exclude_each_other(toml: Path) -> None:
    with pytest.raises(UserError, match=r"model\.compile = True.*gpus_per_replica = 1"):
        load(toml, ["model.compile=true", "ray.gpus_per_replica=2"])


@pytest.mark.parametrize(
    ("content", "word"), [(b"[run", "not valid TOML"), (b"\xff\xfe", "not valid TOML"), (b"", "'run' is missing")]
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=word) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.toml"):
        load(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("sigmas", "needs"),
    [
        ([1.0, 0.5], r"sampling\]: sigmas = \(1.0, 0.5\) .* as many noise levels as there are steps \(3\), or none"),
        ([1.0, 0.5, 0.5], "each below the one before"),
        ([1.1, 0.5, 0.1], "at most 1"),
        ([1, 0.5, 0], "above 0"),
        ([1.0, float("nan"), 0.5], "each below the one before"),
    ],
    ids=["too few", "not falling", "above 1", "ends at 0", "no number"],
)
def test_noise_levels_that_cannot_be_are_refused(sigmas: list[float], needs: str, configure: Configure) -> None:
    with pytest.raises(UserError, match=needs):
        configure(sampling={"steps": 3, "sigmas": sigmas})


@pytest.mark.parametrize(
    "selection",
    [{"accept": "temporal_consistency > 0.9"}, {"limits": [{"column": "b_temporal_consistency", "below": 0.9}]}],
)
def test_selection_by_consistency_over_time_needs_frames_to_compare(
    selection: dict[str, Any], configure: Configure
) -> None:
    """With one frame the column is null in every row, which no condition finds false."""
    tables = {"sampling": {"frames": 5}, "scorers": [{"name": "b", "model": "ViT-B-16"}], "selection": selection}
    scoring = {"model": "ViT-B-32", "frames": 1}
    with pytest.raises(
        UserError, match=r"scoring.frames = 1 .* needs 2 or more: \[selection\] reads \w*temporal_consis"
    ):
        configure(scoring=scoring, **tables)
    configure(scoring=scoring | {"frames": 2}, **tables)
    configure(scoring=scoring, **tables | {"selection": {}})


def test_an_arm_has_settings_of_its_own(configure: Configure) -> None:
    own = {"name": "b", "tora": {"sigma": 1.5}, "dave": {}}
    arms = [{"name": "a", "tora": True}, own, {"name": "c", "tora": False}]
    settings = configure(tora={"sigma": 1.3, "components": 2}, dave={"weight": 0.3}, arms=arms)
    run_wide = ToraConfig(sigma=1.3, components=2)
    changed = replace(run_wide, sigma=1.5)
    assert [arm.interventions for arm in settings.arms] == [(run_wide,), (changed, DaveConfig(weight=0.3)), ()]
    said = settings.to_dict()
    assert said["arms"][0] == {"name": "a", "tora": True, "repulsion": False}
    assert said["arms"][1]["tora"]["sigma"] == 1.5
    assert said["arms"][1]["dave"] is True
    assert said["dave"]["weight"] == 0.3
    assert "cads" not in said
    # What run.json says is a config (but for -inf, which JSON lacks), and gives the same.
    assert build(said | {"selection": {}}, file="run.json") == settings


def test_an_arm_has_sampling_of_its_own(configure: Configure) -> None:
    few = {"steps": 2, "sigmas": [1.0, 0.5], "guidance_scale": 1}
    settings = configure(
        sampling={"steps": 4, "guidance_scale": 3.0}, arms=[{"name": "a"}, {"name": "b", "sampling": few}]
    )
    assert [(one.steps, one.sigmas, one.guidance_scale) for one in settings.arm_samplings] == [
        (4, (), 3.0),
        (2, (1.0, 0.5), 1.0),
    ]
    assert settings.guided
    assert not configure(sampling={"guidance_scale": 3.0}, arms=[{"name": "b", "sampling": few}]).guided
    said = settings.to_dict()
    assert "sampling" not in said["arms"][0]
    assert build(said | {"selection": {}}, file="run.json") == settings
    same = configure(sampling={"steps": 4, "guidance_scale": 3.0}, arms=[{"name": "a"}, {"name": "b", "sampling": {}}])
    assert fingerprint(same) != fingerprint(settings)
    assert "sampling" not in same.to_dict()["arms"][1]


def test_a_known_model_brings_its_own_sampling(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("""
        run.output = "out"
        prompts.path = "prompts.txt"
        model.path = "black-forest-labs/FLUX.1-schnell"
        scoring.model = "ViT-B-32"
        sampling.width = 512
    """)
    assert load(file).sampling == Sampling(steps=4, guidance_scale=0.0, width=512)
    assert load(file, ["sampling.steps=2"]).sampling.steps == 2
    assert load(file, ["model.path=owner/model"]).sampling == Sampling(width=512)


def test_checkpoints_have_samplings() -> None:
    for model, known in CHECKPOINTS.items():
        assert model.count("/") == 1
        assert Sampling(**known.sampling).steps == known.sampling["steps"]


@pytest.mark.parametrize("name", ["sampling", "name", "steps", "shard", "keep"])
def test_an_intervention_cannot_have_the_name_of_a_table_or_column(
    toml: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_REGISTERED, name, replace(DAVE, name=name))
    with pytest.raises(UserError, match=f"run.plugins: the intervention '{name}' has the name of"):
        load(toml)
