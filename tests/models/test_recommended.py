"""Which settings a model is run with where nobody says: hub ids, copies, fine-tunes, files beside a folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoints
from models.checkpoints import CHECKPOINTS, Shape, repulsion_strength, size_of
from models.embedded import SAMPLING, TURBO_SAMPLING, WEIGHTS
from models.embedded import TURBO as TURBO_LORA
from models.errors import ModelError
from models.interventions.registry import find
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import repel
from models.interventions.tora.config import ToraConfig
from models.recommended import recommended, shape_of
from models.spec import Lora, Sampling, span

LARGE, TURBO = "stabilityai/stable-diffusion-3.5-large", "stabilityai/stable-diffusion-3.5-large-turbo"


def folder_of(folder: Path, shape: Shape) -> str:
    """A pipeline folder with the configs of a shape and no weights."""
    heads = shape.width // 64
    transformer = {"num_layers": shape.layers, "num_attention_heads": heads, "attention_head_dim": 64}
    transformer |= {"num_single_layers": shape.single_layers, "guidance_embeds": shape.guidance_embeds}
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "config.json").write_text(json.dumps(transformer))
    index = {"_class_name": shape.pipeline, "is_distilled": shape.distilled}
    (folder / "model_index.json").write_text(json.dumps(index))
    return str(folder)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_has_settings_that_are_settings(name: str) -> None:
    found = recommended(name)
    assert found.source == name
    assert not found.warning
    sampling = Sampling(**found.sampling)
    for kind, settings in found.interventions.items():
        entry = find(kind)
        assert entry is not None
        entry.config(**settings)
    repulsion = RepulsionConfig(**found.interventions["repulsion"])
    blocks = CHECKPOINTS[name].shape.blocks
    assert repulsion.strength * (blocks - 1) == pytest.approx(0.5, rel=0.01)
    assert (repulsion.branch, repulsion.blocks) == ("both", (0.0, 1.0))
    first = len(span(repulsion.steps, sampling.steps))
    assert 1 <= first <= max(1, 0.26 * sampling.steps)


def test_the_papers_numbers() -> None:
    """arXiv 2603.28762, section 5: tau is 4 of 28 (SD3.5-Large), 1 of 4 (Turbo), 1 of 20 (FLUX-dev); M 100, FLUX 50."""

    def tau(name: str) -> tuple[int, int, int]:
        found = recommended(name)
        repulsion, steps = RepulsionConfig(**found.interventions["repulsion"]), int(found.sampling["steps"])
        return len(span(repulsion.steps, steps)), steps, repulsion.inner_steps

    assert tau(LARGE) == (4, 28, 100)
    assert tau(TURBO) == (1, 4, 100)
    assert tau("black-forest-labs/FLUX.1-dev") == (1, 28, 50)
    assert (ToraConfig().site, ToraConfig().sigma) == ("block", 1.3)  # arXiv 2510.03886


@pytest.mark.parametrize("samples", [4, 8, 16])
@pytest.mark.parametrize("blocks", [8, 24, 38, 57])
@pytest.mark.parametrize("shared", [0.99, 0.999, 0.9999])
def test_a_group_keeps_most_of_what_it_shares(samples: int, blocks: int, shared: float) -> None:
    before, after = step(samples, blocks, shared)
    assert 0.9 < after < before


@pytest.mark.parametrize(("samples", "ends"), [(2, 0.75), (3, 0.85)])
@pytest.mark.parametrize("blocks", [8, 24, 38, 57])
def test_a_smaller_group_keeps_less(samples: int, ends: float, blocks: int) -> None:
    """The numbers of README.md, models/CHECKPOINTS.md and `repulsion_strength`."""
    assert step(samples, blocks, 0.99)[1] == pytest.approx(ends, abs=0.005)
    assert step(samples, blocks, 0.999)[1] > ends


def step(samples: int, blocks: int, shared: float) -> tuple[float, float]:
    """The mean cosine before and after all blocks of a step, with fewer inner steps, which make no difference here."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, 1, 40, 128, generator=generator)
    own = torch.randn(1, samples, 40, 128, generator=generator)
    tokens = common + (1 / shared - 1) ** 0.5 * own
    config = RepulsionConfig(strength=repulsion_strength(blocks), inner_steps=10)
    before = cosine(tokens)
    for _ in range(blocks - 1):
        tokens = repel(tokens, config)
    return before, cosine(tokens)


def cosine(tokens_GBND: torch.Tensor) -> float:
    """Mean over pairs of a group."""
    unit = torch.nn.functional.normalize(tokens_GBND.flatten(2), dim=-1)
    count = unit.shape[1]
    return float(((unit @ unit.mT).sum() - count) / (count * (count - 1)))


def test_a_copy_is_known_by_its_configs(tmp_path: Path) -> None:
    large = checkpoints.LARGE
    for folder, name in (
        ("models--stabilityai--stable-diffusion-3.5-large-turbo/snapshots/0a1b", TURBO),
        ("weights/Stable-Diffusion-3.5-Large", LARGE),
    ):
        found = recommended(folder_of(tmp_path / folder, large))
        assert (found.source, found.warning) == (name, "")
    unnamed = recommended(folder_of(tmp_path / "my-finetune", large))
    assert unnamed.source == LARGE
    assert f"looks like {LARGE}; it could also be {TURBO}" in unnamed.warning
    dev = recommended(folder_of(tmp_path / "portraits", checkpoints.FLUX_DEV))
    assert (dev.source, dev.sampling["guidance_scale"]) == ("black-forest-labs/FLUX.1-dev", 3.5)
    schnell = recommended(folder_of(tmp_path / "fast", checkpoints.FLUX_SCHNELL))
    assert (schnell.source, schnell.sampling["steps"], schnell.warning[:10]) == (
        "black-forest-labs/FLUX.1-schnell",
        4,
        "model.path",
    )
    assert "if it wants other settings, as a distilled copy does, say [sampling]" in schnell.warning
    klein = recommended(folder_of(tmp_path / "klein", checkpoints.KLEIN_BASE_4B))
    assert klein.source == "black-forest-labs/FLUX.2-klein-base-4B"


QWEN_IMAGE, DEV = "Qwen/Qwen-Image", "black-forest-labs/FLUX.1-dev"


@pytest.mark.parametrize(
    ("folder", "shape", "source", "sure"),
    [
        ("Qwen-Image", checkpoints.QWEN, QWEN_IMAGE, True),
        ("Qwen-Image-2512", checkpoints.QWEN, "Qwen/Qwen-Image-2512", True),
        ("Qwen-Image-Lightning", checkpoints.QWEN, QWEN_IMAGE, False),
        ("FLUX.1-dev-experiments/krea-portrait", checkpoints.FLUX_DEV, DEV, False),
        ("FLUX.1-Krea-dev/mine", checkpoints.FLUX_DEV, DEV, False),
        ("FLUX.1-Krea-dev-mine", checkpoints.FLUX_DEV, "black-forest-labs/FLUX.1-Krea-dev", False),
        ("black-forest-labs_FLUX.1-Krea-dev", checkpoints.FLUX_DEV, "black-forest-labs/FLUX.1-Krea-dev", True),
        ("models--x--FLUX.1-dev-lora/snapshots/0a1b", checkpoints.FLUX_DEV, DEV, False),
        ("stable-diffusion-3.5-large-turbo-mine", checkpoints.LARGE, TURBO, False),
    ],
)
def test_only_a_folder_s_own_name_leaves_no_doubt(
    tmp_path: Path, folder: str, shape: Shape, source: str, sure: bool
) -> None:
    found = recommended(folder_of(tmp_path / folder, shape))
    assert (found.source, not found.warning) == (source, sure)


def test_a_link_and_the_working_directory_are_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(folder_of(tmp_path / "stable-diffusion-3.5-large-turbo", checkpoints.LARGE))
    (tmp_path / f"{folder.name}.toml").write_text("[sampling]\nsteps = 6\n")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current"
    link.symlink_to(folder)
    monkeypatch.chdir(folder)
    for path in (".", "transformer/..", str(link)):
        found = recommended(path)
        assert (found.source, found.warning, found.sampling["steps"]) == (TURBO, "", 6)
        assert found.source_of("sampling", "steps").endswith("large-turbo.toml")
    (tmp_path / "links" / "current.toml").write_text("[sampling]\nsteps = 5\n")
    assert recommended(str(link)).sampling["steps"] == 5  # beside the name that was said


def test_another_depth_gets_the_papers_form(tmp_path: Path) -> None:
    shape = Shape(pipeline="StableDiffusion3Pipeline", layers=30, width=1920)
    found = recommended(folder_of(tmp_path / "new", shape))
    sibling = CHECKPOINTS["stabilityai/stable-diffusion-3-medium-diffusers"]
    assert found.sampling == sibling.sampling
    acting = {**sibling.interventions["repulsion"], "strength": repulsion_strength(30)}
    assert found.interventions == {"repulsion": acting}
    assert "is of no published shape: it gets the papers' form" in found.warning

    def flux(guidance: bool) -> Any:
        kind = Shape(pipeline="FluxPipeline", layers=8, single_layers=38, width=3072, guidance_embeds=guidance)
        return recommended(folder_of(tmp_path / f"flux-{guidance}", kind))

    for guidance, steps, first in ((True, 28, 0.0357), (False, 4, 0.25)):
        found = flux(guidance)
        assert found.sampling["steps"] == steps
        assert found.interventions["repulsion"] == {
            "strength": repulsion_strength(46),
            "inner_steps": 50,
            "steps": (0.0, first),
        }


@pytest.mark.parametrize("layers", [None, [2, 2], "38", True, 2.5])
def test_a_number_of_blocks_that_is_none_is_not_known(tmp_path: Path, layers: Any) -> None:
    path = folder_of(tmp_path / "odd", checkpoints.LARGE)
    config = tmp_path / "odd" / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_layers": layers, "attention_head_dim": [64]}))
    found = recommended(path)
    assert "strength" not in found.interventions["repulsion"]
    assert found.source.startswith("the papers' form for an unknown number of blocks")


def test_what_nobody_knows_gets_the_papers_form_and_a_warning(tmp_path: Path) -> None:
    for path in ("owner/model", str(tmp_path)):
        found = recommended(path)
        assert not found.sampling
        assert not found.interventions
        assert "is not in models/checkpoints.py: it gets the papers' form" in found.warning
    assert "give the folder of a download" in recommended("owner/model").warning
    assert recommended("THUDM/CogView4-6B").source == "zai-org/CogView4-6B"
    assert size_of("black-forest-labs/FLUX.1-dev") is not None
    assert size_of("owner/model") is None


def test_capital_letters_of_a_hub_id_do_not_matter() -> None:
    """Nor on a hub, which would give the weights: at other settings those of few steps draw poor pictures."""
    for path in ("black-forest-labs/flux.1-schnell", "Black-Forest-Labs/FLUX.1-Schnell"):
        assert (found := recommended(path)).source == "black-forest-labs/FLUX.1-schnell"
        assert not found.warning
        assert size_of(path) is not None
    assert recommended("thudm/cogview4-6b").source == "zai-org/CogView4-6B"


def test_what_was_measured_on_a_model_lies_beside_it(tmp_path: Path) -> None:
    """As with the embedded model."""
    embedded = recommended(str(WEIGHTS / "pipeline"))
    assert Sampling(**embedded.sampling) == SAMPLING
    assert embedded.interventions["tora"] == {"sigma": 4.0, "site": "attention", "blocks": [0.625, 1.0]}
    assert embedded.interventions["repulsion"]["strength"] == 3.0
    for table, keys in {"sampling": embedded.sampling, **embedded.interventions}.items():
        assert [key for key in keys if not embedded.source_of(table, key).endswith("pipeline.toml")] == (
            ["inner_steps"] if table == "repulsion" else []
        )
    assert not embedded.warning

    path = folder_of(tmp_path / "mine", checkpoints.LARGE)
    (tmp_path / "mine.toml").write_text("[repulsion]\nstrength = 0.2\n")
    large = CHECKPOINTS[LARGE]
    found = recommended(path)
    assert found.sampling == large.sampling
    assert found.interventions == {"repulsion": {**large.interventions["repulsion"], "strength": 0.2}}
    assert [found.source_of("repulsion", key) for key in ("strength", "steps")] == [str(tmp_path / "mine.toml"), LARGE]
    assert found.warning.endswith(f"say [sampling] (not in {tmp_path / 'mine.toml'}: [sampling])")
    (tmp_path / "mine.toml").write_text("[repulsion]\nstrength = 0.2\n[sampling]\nsteps = 4\n")
    assert recommended(path).sampling == {**large.sampling, "steps": 4}
    assert not recommended(path).warning
    (tmp_path / "mine.toml").write_text("sampling = 3")
    with pytest.raises(ModelError, match=r"mine.toml: sampling is no table"):
        recommended(path)
    (tmp_path / "mine" / "model_index.json").write_text("{")
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(ModelError, match=r"model_index.json cannot be read"):
        recommended(path)


def test_a_file_beside_a_copy_keeps_what_is_known_of_the_copy(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "stable-diffusion-3.5-large-turbo", checkpoints.LARGE)
    Path(f"{path}.toml").write_text("[repulsion]\nstrength = 0.2\n")
    found = recommended(path)
    assert (found.sampling["steps"], found.sampling["guidance_scale"], found.warning) == (4, 0.0, "")


def test_a_file_beside_an_unknown_model_keeps_the_warning_for_what_it_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    file = tmp_path / "new.toml"
    file.write_text("[sampling]\nsteps = 8\n")
    found = recommended(str(tmp_path / "new"))
    assert found.sampling == {"steps": 8}
    assert found.warning.endswith(f"(not in {file}: [repulsion])")


def test_what_was_measured_with_a_lora_goes_before_what_was_measured_without(tmp_path: Path) -> None:
    """As with the embedded model's LoRA of four steps."""
    path = str(WEIGHTS / "pipeline")
    alone, turbo = recommended(path), recommended(path, [TURBO_LORA])
    in_folder = replace(TURBO_LORA, path=str(Path(TURBO_LORA.path).parent))
    assert recommended(path, [in_folder]) == turbo  # as people load it into a pipeline
    assert Sampling(**{**turbo.sampling, "sigmas": tuple(turbo.sampling["sigmas"])}) == TURBO_SAMPLING
    assert turbo.interventions["tora"]["sigma"] != alone.interventions["tora"]["sigma"]
    assert turbo.source_of("tora", "sigma").endswith("pytorch_lora_weights.toml")
    assert turbo.source_of("sampling", "width").endswith("pipeline.toml")

    folder, plain = tmp_path / "fast", tmp_path / "plain"
    folder.mkdir()
    plain.mkdir()
    file = tmp_path / "fast.toml"
    file.write_text("[sampling]\nsteps = 8\n")
    found = recommended("owner/model", [Lora(name="a", path=str(folder)), Lora(name="b", path=str(plain))])
    assert found.sampling == {"steps": 8}
    assert found.warning.endswith(f"(not in {file}: [repulsion])")


def test_a_real_pipeline_has_the_shape_of_its_configs(tiny_pipeline: str) -> None:
    assert shape_of(Path(tiny_pipeline)) == Shape(pipeline="StableDiffusion3Pipeline", layers=2, width=32)


def test_blocks_that_a_config_names_in_another_way_are_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "aura", Shape(pipeline="AuraFlowPipeline", layers=0, width=3072))
    config = tmp_path / "aura" / "transformer" / "config.json"
    names = {"num_mmdit_layers": 4, "num_single_dit_layers": 32, "num_attention_heads": 12, "attention_head_dim": 256}
    config.write_text(json.dumps(names))
    assert shape_of(Path(folder)) == CHECKPOINTS["fal/AuraFlow-v0.3"].shape


def test_the_table_of_checkpoints_says_what_the_code_does() -> None:
    text = Path("models/CHECKPOINTS.md").read_text()
    assert table() in text, f"write this table:\n{table()}"


def table() -> str:
    """The resolved settings of every checkpoint, as models/CHECKPOINTS.md has them."""
    head = ("checkpoint", "steps", "guidance", "text tokens", "TORA", "repulsion: strength", "M", "steps of the run")
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for name in CHECKPOINTS:
        found = recommended(name)
        sampling, tora = Sampling(**found.sampling), ToraConfig(**found.interventions.get("tora", {}))
        repulsion: Any = RepulsionConfig(**found.interventions["repulsion"])
        cells = (
            f"`{name}`", sampling.steps, f"{sampling.guidance_scale:g}", sampling.max_sequence_length,
            f"{tora.site}, sigma {tora.sigma:g}", f"{repulsion.strength:g}", repulsion.inner_steps,
            f"first {len(span(repulsion.steps, sampling.steps))}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    assert not re.search(r"\n\n", "\n".join(lines))
    return "\n".join(lines)
